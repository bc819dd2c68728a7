// A worker that decodes images and runs the two graphs of the model. preprocess.onnx maps an image of any size to the
// image as the model sees it and to the input of network.onnx, which returns probabilities and, for models with feature
// maps, the maps of all classes. Nothing of the preprocessing is written here again.

const model = await (await fetch("./model.json")).json();

const RUNTIMES = {
  wasm: { name: "WebAssembly", file: "./ort.wasm.min.mjs" },
  webgpu: { name: "WebGPU", file: "./ort.webgpu.min.mjs" },
};
const TIMED_RUNS = 5;

/** A graph on one of the RUNTIMES. */
async function open(graph, provider) {
  const { name, file } = RUNTIMES[provider];
  const ort = await import(file);
  ort.env.wasm.numThreads = 1; // more threads need headers that a plain web server does not send
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  const session = await ort.InferenceSession.create(graph, { executionProviders: [provider], logSeverityLevel: 3 });
  const run = (type, values, shape) => session.run({ images: new ort.Tensor(type, values, shape) });
  return { name, run };
}

/** The pixels of an image file in RGB, on white where it is transparent. */
async function decode(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  const { width, height } = bitmap;
  if (width * height > model.largest_pixels) {
    bitmap.close();
    throw new Error(`it has ${width} × ${height} pixels, and the limit is ${model.largest_pixels}`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, pixels: withoutAlpha(context.getImageData(0, 0, width, height).data) };
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

async function classify(file) {
  const start = performance.now();
  const { height, width, pixels } = await decode(file);
  const decoded = performance.now();
  const { seen, normalised } = await preprocess.run("uint8", pixels, [1, height, width, 3]);
  const { probabilities, maps } = await answer(network, normalised.data, 1);
  return {
    seen: seen.data,
    probabilities: probabilities.data,
    contributions: maps && mapOf(maps, best(probabilities.data)),
    runtime: network.name,
    decodingMs: decoded - start,
    networkMs: performance.now() - decoded,
  };
}

const answer = (graph, images, count) => graph.run("float32", images, [count, 3, ...model.image_size]);

const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

function mapOf({ data, dims }, label) {
  const places = dims[2] * dims[3];
  return data.slice(label * places, (label + 1) * places);
}

/** How much the log-odds of the label fall, in nats, when a window is covered with the mean colour, which is 0. */
async function occlusion(file) {
  const { height, width, pixels } = await decode(file);
  const image = (await preprocess.run("uint8", pixels, [1, height, width, 3])).normalised.data;
  const { probabilities } = await answer(network, image, 1);
  const label = best(probabilities.data);
  const [whole] = logOdds(probabilities.data, label);
  const { rows, columns } = model.windows;
  const drops = [];
  for (const row of rows) {
    const images = new Float32Array(columns.length * image.length);
    columns.forEach((column, index) => {
      images.set(image, index * image.length);
      cover(images.subarray(index * image.length, (index + 1) * image.length), row, column);
    });
    const covered = await answer(network, images, columns.length);
    drops.push(...logOdds(covered.probabilities.data, label).map((odds) => whole - odds));
  }
  return drops;
}

function cover(image, [top, bottom], [left, right]) {
  const [height, width] = model.image_size;
  for (let channel = 0; channel < 3; channel++) {
    for (let row = top; row < bottom; row++) {
      const start = (channel * height + row) * width;
      image.fill(0, start + left, start + right);
    }
  }
}

/** log(p / (1 - p)) of a class for every image; 1 - p is a sum, so that it is not rounded to 0. */
function logOdds(probabilities, label) {
  const odds = [];
  for (let start = 0; start < probabilities.length; start += model.classes.length) {
    let others = 0;
    for (let index = 0; index < model.classes.length; index++) {
      if (index !== label) others += probabilities[start + index];
    }
    odds.push(Math.log(probabilities[start + label]) - Math.log(others));
  }
  return odds;
}

/** Whether a network gives the stored answer for the test image, and the median time of a run in milliseconds. */
async function check(candidate) {
  const [height, width] = model.image_size;
  const upperByte = (index) => Math.imul(index, 2654435761) >>> 24;
  const image = Float32Array.from({ length: height * width * 3 }, (_, index) => upperByte(index) / 64 - 2);
  const times = [];
  let found;
  for (let count = 0; count <= TIMED_RUNS; count++) {
    const start = performance.now();
    found = (await answer(candidate, image, 1)).probabilities.data;
    times.push(performance.now() - start);
  }
  const differences = [...found].map((value, index) => Math.abs(value - model.check.probabilities[index]));
  const isEqual = Math.max(...differences) <= model.check.tolerance; // false for NaN
  return { isEqual, time: times.slice(1).sort((a, b) => a - b)[Math.floor(TIMED_RUNS / 2)] };
}

/** The network with WebGPU, if page and browser have it, it gives the stored answer and it is faster. */
async function faster(usual, usualTime) {
  if (!model.webgpu || !navigator.gpu) return usual;
  try {
    const candidate = await open("./network.onnx", "webgpu");
    const { isEqual, time } = await check(candidate);
    return isEqual && time < usualTime ? candidate : usual;
  } catch {
    return usual; // the browser has no adapter, or the runtime has no kernel for an operator
  }
}

const tasks = { classify, occlusion };

self.onmessage = async ({ data: { id, task, input } }) => {
  try {
    self.postMessage({ id, result: await tasks[task](input) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

const preprocess = await open("./preprocess.onnx", "wasm");
let network = await open("./network.onnx", "wasm");
const { isEqual, time } = await check(network);
if (!isEqual) throw new Error("the model gives other answers in this browser than when it was exported");
self.postMessage({ model, runtime: network.name });
network = await faster(network, time);
self.postMessage({ model, runtime: network.name });
