// What all pages have in common: images in, answers out. The script of a page follows in the same module. It calls
// ready(text) once, and defines
// AT_ONCE: how many images are classified at the same time
// isImage(file): whether a chosen file is tried
// classify(file): resolves to { labels, thumbnail, note } or rejects with a sentence about the file. The labels are
//     { label, probability }, most probable first; the thumbnail is the address of an image. The answer gets the file
//     and its name.
// showImage(answer): shows the image of an answer
// where(): where images are classified, for the status

const $ = (id) => document.getElementById(id);
const LABELS_SHOWN = 5;
let isReady = false;

function ready(text) {
  if (!answers.length) $("status").textContent = text;
  for (const id of ["choose-images", "choose-folder", "open-camera"]) $(id).disabled = false;
  isReady = true;
  document.body.dataset.ready = "yes";
}

// ---- images in

const answers = [];
let current;

async function classifyAll(files) {
  const images = [...files].filter(isImage);
  if (!images.length) return complain("These files contain no images.");
  $("errors").replaceChildren();
  let classified = 0;
  for (let start = 0; start < images.length; start += AT_ONCE) {
    $("status").textContent = `${classified} of ${images.length} classified …`;
    const some = images.slice(start, start + AT_ONCE);
    const found = await Promise.allSettled(some.map(classify));
    found.forEach(({ value, reason }, index) => {
      if (reason) return complain(reason.message);
      const file = some[index];
      add({ file, name: file.webkitRelativePath || file.name, ...value });
      classified += 1;
    });
  }
  $("status").textContent = `${classified} of ${images.length} classified, ${where()}.`;
}

const extension = (name) => name.split(".").pop().toLowerCase();

function complain(text) {
  const item = document.createElement("li");
  item.textContent = text;
  $("errors").append(item);
}

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return transfer.files;
  return (await Promise.all(entries.map(filesBelow))).flat();
}

async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!some.length) return files;
    files.push(...(await Promise.all(some.map(filesBelow))).flat());
  }
}

$("choose-images").onclick = () => $("images").click();
$("choose-folder").onclick = () => $("folder").click();
for (const id of ["images", "folder"]) {
  $(id).onchange = ({ target }) => {
    classifyAll(target.files);
    target.value = "";
  };
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("input").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || $("input").classList.remove("over"));
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("input").classList.remove("over");
  if (isReady) classifyAll(await filesOf(event.dataTransfer));
});
document.addEventListener("paste", ({ clipboardData }) => {
  if (isReady && clipboardData.files.length) classifyAll(clipboardData.files);
});

// ---- the camera

const video = document.querySelector("video");

$("open-camera").onclick = async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    return complain("The camera is not available: allow its use, and open the page from localhost or by https.");
  }
  await video.play();
  $("camera").hidden = false;
  $("take-photo").focus();
};
$("take-photo").onclick = async () => {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const photo = await canvas.convertToBlob({ type: "image/png" });
  classifyAll([new File([photo], `camera ${new Date().toLocaleTimeString()}.png`, { type: "image/png" })]);
};
$("close-camera").onclick = () => {
  for (const track of video.srcObject.getTracks()) track.stop();
  $("camera").hidden = true;
  $("open-camera").focus();
};

// ---- answers out

const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

function add(answer) {
  answers.push(answer);
  const [{ label, probability }] = answer.labels;
  const item = document.createElement("li");
  item.innerHTML = '<button><img alt="" loading="lazy"><span class="label"></span><span class="name"></span></button>';
  item.querySelector(".label").textContent = `${label} ${percent(probability)}`;
  item.querySelector(".name").textContent = answer.name;
  const thumbnail = item.querySelector("img");
  thumbnail.onerror = () => (thumbnail.alt = "No preview");
  thumbnail.src = answer.thumbnail;
  answer.button = item.querySelector("button");
  answer.button.title = answer.name;
  answer.button.onclick = () => show(answer);
  $("thumbnails").append(item);
  $("batch").hidden = answers.length < 2;
  $("thumbnails").classList.toggle("dense", answers.length > 24);
  $("batch-title").textContent = `${answers.length} images`;
  if (answers.length === 1 || !current || current === answers.at(-2)) show(answer);
}

function show(answer) {
  current = answer;
  for (const each of answers) each.button.removeAttribute("aria-current");
  answer.button.setAttribute("aria-current", "true");
  const [{ label, probability }] = answer.labels;
  $("current").hidden = false;
  $("answer").textContent = `${label}, ${percent(probability)}`;
  $("labels").replaceChildren(...answer.labels.slice(0, LABELS_SHOWN).map(bar));
  $("note").textContent = answer.note;
  showImage(answer);
}

function bar({ label, probability }) {
  const item = document.createElement("li");
  item.innerHTML = '<span></span><span></span><div class="bar" aria-hidden="true"><span></span></div>';
  const [name, value, fill] = item.querySelectorAll("span");
  name.textContent = label;
  value.textContent = percent(probability);
  fill.style.width = `${100 * probability}%`;
  return item;
}

// ---- a table of all answers, as mixlab predict writes it

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

$("download").onclick = () => {
  const rows = answers.map((answer) => {
    const [{ label, probability }] = answer.labels;
    return [quoted(answer.name), quoted(label), probability].join(",");
  });
  const csv = new Blob([["image,label,probability", ...rows, ""].join("\n")], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(csv);
  link.download = "predictions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
};
