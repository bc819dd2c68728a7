// A worker that decodes images and runs the model. The graph of the model contains the preprocessing: its input is an
// image of any size, and its outputs are the probabilities, the image as the model sees it and, for models with feature
// maps, the maps of all classes.

import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more threads need headers that a plain web server does not send
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

const model = await (await fetch("./model.json")).json();
const session = await ort.InferenceSession.create("./model.onnx");

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

/** Run images of one size (batch, row, column, 3); `isResized` says that it is already the size of the model. */
async function run(pixels, shape, isResized) {
  const { probabilities, resized, maps } = await session.run({
    images: new ort.Tensor("uint8", pixels, shape),
    is_resized: new ort.Tensor("bool", [isResized], []),
  });
  return { probabilities: probabilities.data, seen: resized.data, maps: maps?.data };
}

async function classify(file) {
  const start = performance.now();
  const { height, width, pixels } = await decode(file);
  const decoded = performance.now();
  const answer = await run(pixels, [1, height, width, 3], false);
  return { ...answer, decodingMs: decoded - start, networkMs: performance.now() - decoded };
}

/** How much the log-odds of a class fall, in nats, when a window is covered with the mean colour of the preprocessing. */
async function occlusion({ seen, label }) {
  const [height, width] = model.image_size;
  const { rows, columns } = model.windows;
  const [whole] = logOdds(await run(seen, [1, height, width, 3], true), label);
  const drops = [];
  for (const row of rows) {
    const images = new Uint8Array(columns.length * seen.length);
    columns.forEach((column, index) => {
      images.set(seen, index * seen.length);
      cover(images.subarray(index * seen.length, (index + 1) * seen.length), row, column);
    });
    const odds = logOdds(await run(images, [columns.length, height, width, 3], true), label);
    drops.push(...odds.map((value) => whole - value));
  }
  return drops;
}

function cover(image, [top, bottom], [left, right]) {
  const width = model.image_size[1];
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) image.set(model.mean_colour, (row * width + column) * 3);
  }
}

/** log(p / (1 - p)) of a class for every image; 1 - p is a sum, so that it is not rounded to 0. */
function logOdds({ probabilities }, label) {
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

const tasks = { classify, occlusion };

self.onmessage = async ({ data: { id, task, input } }) => {
  try {
    self.postMessage({ id, result: await tasks[task](input) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
const [height, width] = model.image_size;
await run(new Uint8Array(height * width * 3), [1, height, width, 3], true); // the first run is slower than the others
self.postMessage({ model });
