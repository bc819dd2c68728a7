// A worker that decodes images and runs the two graphs of the model. preprocess.onnx maps an image of any size to the
// pixels that the model sees; network.onnx maps those to probabilities and, if the model has feature maps, to maps of
// every class. Nothing of the preprocessing is written here again.

import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more threads need headers that a plain web server does not send
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

const model = await (await fetch("./model.json")).json();
const [preprocess, network] = await Promise.all(
  ["./preprocess.onnx", "./network.onnx"].map((file) => ort.InferenceSession.create(file)),
);

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

/** The image as the model sees it: (1, row, column, 3). */
async function resize({ width, height, pixels }) {
  const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
  return (await preprocess.run({ image })).resized;
}

/** The probabilities of every image, and the maps of every class if the model has them. */
async function run(images) {
  const { probabilities, maps } = await network.run({ images });
  return { probabilities: probabilities.data, maps: maps?.data };
}

async function classify(file) {
  const start = performance.now();
  const decoded = await decode(file);
  const afterDecoding = performance.now();
  const seen = await resize(decoded);
  const { probabilities, maps } = await run(seen);
  return {
    seen: seen.data,
    probabilities,
    maps,
    decodingMs: afterDecoding - start,
    networkMs: performance.now() - afterDecoding,
  };
}

/** How much the probability of a class drops, in points, when a patch is replaced by the mean colour of training. */
async function occlusion({ seen, label }) {
  const [height, width] = model.image_size;
  const [rows, columns] = model.grid;
  const whole = (await run(new ort.Tensor("uint8", seen, [1, height, width, 3]))).probabilities[label];
  const drops = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const images = new Uint8Array(columns * seen.length);
    for (let column = 0; column < columns; column++) {
      images.set(seen, column * seen.length);
      const image = images.subarray(column * seen.length, (column + 1) * seen.length);
      cover(image, width, edges(row, rows, height), edges(column, columns, width));
    }
    const { probabilities } = await run(new ort.Tensor("uint8", images, [columns, height, width, 3]));
    for (let column = 0; column < columns; column++) {
      drops[row * columns + column] = 100 * (whole - probabilities[column * model.classes.length + label]);
    }
  }
  return drops;
}

const edges = (index, parts, size) => [Math.round((index * size) / parts), Math.round(((index + 1) * size) / parts)];

function cover(image, width, [top, bottom], [left, right]) {
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) image.set(model.mean_colour, (row * width + column) * 3);
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
self.postMessage({ model });
