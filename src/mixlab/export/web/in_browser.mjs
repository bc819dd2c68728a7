// The page whose model runs in this browser: its worker, the image as the model sees it, and maps over it.

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
  if (data.model) return loaded(data);
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) reject(new Error(data.error));
  else resolve(data.result);
};
worker.onerror = (event) => {
  const reason = event.message?.replace("Uncaught Error: ", "");
  $("status").textContent = `The model could not be loaded: ${reason || "this page must be opened from a web server"}.`;
};

function loaded(message) {
  ({ model, runtime } = message);
  document.querySelector('[data-map="activation"]').hidden = !model.map_places;
  $("maps").hidden = !model.windows;
  ready(`Ready, ${where()}.`);
}

// ---- what the shared script calls

const AT_ONCE = 1;
const where = () => `with ${runtime} on this device`;
const isImage = (file) => file.type.startsWith("image/") || extension(file.name) in NOT_DECODED;

async function classify(file) {
  try {
    const found = await ask("classify", file);
    const { probabilities, seen, decodingMs, networkMs } = found;
    const ranking = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    return {
      ...found,
      labels: ranking.slice(0, LABELS_SHOWN).map((index) => ({ label: model.classes[index], probability: probabilities[index] })),
      thumbnail: pixelsUrl(seen),
      note:
        `Decoded in ${decodingMs.toFixed(0)} ms, classified in ${networkMs.toFixed(0)} ms, ` +
        `with ${found.runtime} on this device.`,
    };
  } catch (error) {
    throw new Error(sentence(file, error));
  }
}

function sentence(file, error) {
  const format = NOT_DECODED[extension(file.name)];
  if (format) return `${file.name}: this browser can't decode ${format}. Save the image as JPEG or PNG.`;
  if (error.message.startsWith("it has")) return `${file.name} is too large: ${error.message}. Reduce the image.`;
  return `${file.name} can't be decoded: the file is damaged, or its format is not one of this browser's.`;
}

function showImage({ name }) {
  $("seen-size").textContent = `${model.image_size[1]} × ${model.image_size[0]} pixels: ${name}`;
  $("seen").setAttribute("aria-label", `${name}, as the model sees it`);
  showMap("none");
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
  $("map-caption").textContent = CAPTIONS[kind](shown.labels[0].label, strongest);
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
