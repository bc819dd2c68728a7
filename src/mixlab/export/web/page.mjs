const $ = (id) => document.getElementById(id);
const LABELS_SHOWN = 5;
const NOT_DECODED = { tif: "TIFF", tiff: "TIFF", heic: "HEIC", heif: "HEIC" };

// ---- the worker: one request at a time, answers by number

const worker = new Worker("./classifier.mjs", { type: "module" });
const waiting = new Map();
let model, runtime;

function ask(task, input) {
  const id = waiting.size ? Math.max(...waiting.keys()) + 1 : 1;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, input });
  });
}

worker.onmessage = ({ data }) => {
  if (data.model) return ready(data);
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) reject(new Error(data.error));
  else resolve(data.result);
};
worker.onerror = (event) => {
  const reason = event.message?.replace("Uncaught Error: ", "");
  $("status").textContent = `The model could not be loaded: ${reason || "this page must be opened from a web server"}.`;
};

function ready(message) {
  ({ model, runtime } = message);
  if (!results.length) $("status").textContent = `Ready, with ${runtime} on this device.`;
  for (const id of ["choose-images", "choose-folder", "open-camera"]) $(id).disabled = false;
  document.querySelector('[data-map="activation"]').hidden = !model.map_places;
  $("maps").hidden = !model.windows;
  document.body.dataset.ready = "yes";
}

// ---- images in

const results = []; // of the worker, with the names of the files
let current;

async function classifyAll(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || extension(file.name) in NOT_DECODED);
  if (!images.length) return complain("These files contain no images.");
  $("errors").replaceChildren();
  let classified = 0;
  for (const file of images) {
    $("status").textContent = `${classified} of ${images.length} classified …`;
    try {
      addResult({ file, name: file.webkitRelativePath || file.name, ...(await ask("classify", file)) });
      classified += 1;
    } catch (error) {
      complain(sentence(file, error));
    }
  }
  $("status").textContent = `${classified} of ${images.length} classified, with ${runtime} on this device.`;
}

function sentence(file, error) {
  const format = NOT_DECODED[extension(file.name)];
  if (format) return `${file.name}: this browser can't decode ${format}. Save the image as JPEG or PNG.`;
  if (error.message.startsWith("it has")) return `${file.name} is too large: ${error.message}. Reduce the image.`;
  return `${file.name} can't be decoded: the file is damaged, or its format is not one of this browser's.`;
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
  if (model) classifyAll(await filesOf(event.dataTransfer));
});
document.addEventListener("paste", ({ clipboardData }) => {
  if (model && clipboardData.files.length) classifyAll(clipboardData.files);
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

function ranking({ probabilities }) {
  return [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a] || a - b);
}

function addResult(result) {
  results.push(result);
  const [best] = ranking(result);
  const item = document.createElement("li");
  item.innerHTML = '<button><img alt=""><span class="label"></span><span class="name"></span></button>';
  item.querySelector(".label").textContent = `${model.classes[best]} ${percent(result.probabilities[best])}`;
  item.querySelector(".name").textContent = result.name;
  item.querySelector("img").src = pixelsUrl(result.seen);
  item.querySelector("button").onclick = () => show(result);
  result.button = item.querySelector("button");
  $("thumbnails").append(item);
  $("batch").hidden = results.length < 2;
  $("thumbnails").classList.toggle("dense", results.length > 24);
  $("batch-title").textContent = `${results.length} images`;
  if (results.length === 1 || !current || current === results.at(-2)) show(result);
}

function show(result) {
  current = result;
  for (const each of results) each.button.removeAttribute("aria-current");
  result.button.setAttribute("aria-current", "true");
  const [best] = ranking(result);
  $("current").hidden = false;
  $("answer").textContent = `${model.classes[best]}, ${percent(result.probabilities[best])}`;
  $("seen-size").textContent = `${model.image_size[1]} × ${model.image_size[0]} pixels: ${result.name}`;
  $("seen").setAttribute("aria-label", `${result.name}, as the model sees it`);
  $("labels").replaceChildren(...ranking(result).slice(0, LABELS_SHOWN).map((index) => bar(result, index)));
  $("latency").textContent =
    `Decoded in ${result.decodingMs.toFixed(0)} ms, classified in ${result.networkMs.toFixed(0)} ms, ` +
    `with ${result.runtime} on this device.`;
  showMap("none");
}

function bar(result, index) {
  const item = document.createElement("li");
  item.innerHTML = '<span></span><span></span><div class="bar" aria-hidden="true"><span></span></div>';
  const [name, value, fill] = item.querySelectorAll("span");
  name.textContent = model.classes[index];
  value.textContent = percent(result.probabilities[index]);
  fill.style.width = `${100 * result.probabilities[index]}%`;
  return item;
}

// ---- maps

const CAPTIONS = {
  none: () => "",
  activation: (label, strongest) =>
    `Class activation for "${label}": the contribution of each place to the logit of the class, compared with the ` +
    `mean of all places, at most ${strongest.toFixed(3)}. Orange: more, blue: less.`,
  occlusion: (label, strongest) =>
    `Occlusion for "${label}": how much the log-odds fall when a window is covered with the mean colour. The largest ` +
    `change is ${strongest.toFixed(2)} nats. Orange: they fall, blue: they rise.`,
};

for (const button of document.querySelectorAll("[data-map]")) button.onclick = () => showMap(button.dataset.map);

async function showMap(kind) {
  const shown = current;
  for (const button of document.querySelectorAll("[data-map]")) {
    button.setAttribute("aria-pressed", String(button.dataset.map === kind));
  }
  if (kind === "occlusion" && !shown.occlusion) {
    $("map-caption").textContent = "Covering one window after another …";
    shown.occlusion = await ask("occlusion", shown.file);
    if (shown !== current) return;
  }
  const values = kind === "activation" ? activation(shown) : kind === "occlusion" ? shown.occlusion : undefined;
  const strongest = values ? Math.max(...values.map(Math.abs)) : 0;
  draw(shown.seen, values, strongest);
  $("map-caption").textContent = CAPTIONS[kind](model.classes[ranking(shown)[0]], strongest);
}

function activation({ contributions }) {
  const mean = contributions.reduce((sum, value) => sum + value, 0) / contributions.length;
  return contributions.map((value) => value - mean);
}

function draw(seen, values, strongest) {
  const [height, width] = model.image_size;
  const canvas = $("seen");
  Object.assign(canvas, { width, height });
  canvas.classList.toggle("pixelated", width < 160);
  const context = canvas.getContext("2d");
  context.putImageData(imageData(seen), 0, 0);
  if (!values || !strongest) return;
  context.globalCompositeOperation = "saturation"; // the colours of the map need a grey image below
  context.fillStyle = "grey";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "source-over";
  const { rows, columns } = values === current.occlusion ? model.windows : model.map_places;
  values.forEach((value, place) => {
    const [top, bottom] = rows[Math.floor(place / columns.length)];
    const [left, right] = columns[place % columns.length];
    context.fillStyle = `rgba(${value > 0 ? "230, 110, 20" : "20, 110, 220"}, ${(0.7 * Math.abs(value)) / strongest})`;
    context.fillRect(left, top, right - left, bottom - top);
  });
}

function imageData(seen) {
  const [height, width] = model.image_size;
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < seen.length; to += 4) {
    image.data[to] = seen[from++];
    image.data[to + 1] = seen[from++];
    image.data[to + 2] = seen[from++];
    image.data[to + 3] = 255;
  }
  return image;
}

function pixelsUrl(seen) {
  const [height, width] = model.image_size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").putImageData(imageData(seen), 0, 0);
  return canvas.toDataURL();
}

// ---- a table of all answers, as mixlab predict writes it

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

$("download").onclick = () => {
  const rows = results.map((result) => {
    const [best] = ranking(result);
    return [quoted(result.name), quoted(model.classes[best]), result.probabilities[best]].join(",");
  });
  const csv = new Blob([["image,label,probability", ...rows, ""].join("\n")], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(csv);
  link.download = "predictions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
};
