// Behind ONNX Runtime Web, as `ort`, in one worker: photos to squares, squares to answers.

let session = null;
let settings = null;
let reference = null; // Int8Array, a row for each training photo
let lengths = null; // of those rows

const ROWS_AT_ONCE = 2e6;

async function start({ wasm, network, directions, ...others }) {
  settings = others.settings;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // more need headers of a server
  session = await ort.InferenceSession.create(new Uint8Array(network), {
    executionProviders: ["wasm"],
  });
  if (directions) {
    reference = new Int8Array(directions);
    const { numPhotos } = settings.reference;
    const size = reference.length / numPhotos;
    lengths = Float64Array.from({ length: numPhotos }, (_, row) =>
      Math.hypot(...reference.subarray(row * size, (row + 1) * size)));
  }
  await answer(new Uint8Array(3 * settings.imageSize ** 2)); // the first one takes longer
  return {};
}

// --- a photo as a square, as handful's `decoding.resize` makes it -----------------------------

function keptSide(side, shorter) {
  if (settings.resize === "squash") return side;
  if (settings.resize === "crop") return shorter;
  return Math.round(Math.sqrt(side * shorter));
}

// For each output pixel, the first pixel that it takes and the weights of it and those behind it.
function areaTaps(kept, size) {
  return Array.from({ length: size }, (_, place) => {
    const [begin, end] = [kept * place, kept * (place + 1)];
    const first = Math.floor(begin / size);
    const weights = [];
    for (let pixel = first; pixel * size < end; pixel += 1) {
      weights.push(Math.min(end, (pixel + 1) * size) - Math.max(begin, pixel * size));
    }
    return { pixels: weights.map((_, number) => first + number), weights };
  });
}

const near = (x) => ((1.25 * x - 2.25) * x) * x + 1;
const far = (x) => ((-0.75 * x + 3.75) * x - 6) * x + 3;

// The curve of Keys (1981), with OpenCV's parameter.
function cubicTaps(kept, size) {
  return Array.from({ length: size }, (_, place) => {
    const center = kept * (2 * place + 1) - size;
    const before = Math.floor(center / (2 * size));
    const x = (center - before * 2 * size) / (2 * size);
    return {
      pixels: [-1, 0, 1, 2].map((step) => Math.min(Math.max(before + step, 0), kept - 1)),
      weights: [far(1 + x), near(x), near(1 - x), far(2 - x)],
    };
  });
}

function halfToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

// `strip(left, top, width, rows)` gives pixels of `channels` bytes each, row by row.
function squareOf({ width, height, channels, strip }) {
  const size = settings.imageSize;
  const shorter = Math.min(width, height);
  const [keptWidth, keptHeight] = [keptSide(width, shorter), keptSide(height, shorter)];
  const left = Math.floor((width - keptWidth) / 2);
  const top = Math.floor((height - keptHeight) / 2);
  const shrinks = Math.min(keptWidth, keptHeight) >= size;
  const taps = shrinks ? areaTaps : cubicTaps;
  const across = taps(keptWidth, size);
  const narrow = new Float64Array(keptHeight * size * 3);
  const atOnce = Math.max(1, Math.floor(ROWS_AT_ONCE / keptWidth));
  for (let first = 0; first < keptHeight; first += atOnce) {
    const rows = Math.min(atOnce, keptHeight - first);
    const pixels = strip(left, top + first, keptWidth, rows);
    for (let row = 0; row < rows; row += 1) {
      narrowRow(pixels, row * keptWidth * channels, channels, across, narrow, (first + row) * size * 3);
    }
  }
  const total = shrinks ? keptWidth * keptHeight : 1;
  // OpenCV rounds halves up where it halves a photo exactly, and to even elsewhere.
  const tie = keptWidth === 2 * size && keptHeight === 2 * size ? 1e-3 : 0;
  const square = new Uint8ClampedArray(size * size * 3);
  const sums = new Float64Array(size * 3);
  taps(keptHeight, size).forEach(({ pixels, weights }, place) => {
    sums.fill(0);
    pixels.forEach((row, number) => {
      const weight = weights[number];
      const begin = row * size * 3;
      for (let i = 0; i < sums.length; i += 1) sums[i] += weight * narrow[begin + i];
    });
    const begin = place * size * 3;
    for (let i = 0; i < sums.length; i += 1) square[begin + i] = halfToEven(sums[i] / total + tie);
  });
  return new Uint8Array(square.buffer);
}

function narrowRow(pixels, start, channels, taps, narrow, target) {
  for (const { pixels: places, weights } of taps) {
    let [red, green, blue] = [0, 0, 0];
    for (let number = 0; number < weights.length; number += 1) {
      const weight = weights[number];
      const place = start + places[number] * channels;
      red += weight * pixels[place];
      green += weight * pixels[place + 1];
      blue += weight * pixels[place + 2];
    }
    narrow[target] = red;
    narrow[target + 1] = green;
    narrow[target + 2] = blue;
    target += 3;
  }
}

// --- where pixels come from -------------------------------------------------------------------

async function decoded(image) {
  if (image instanceof ImageBitmap) return image;
  return createImageBitmap(image, {
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
    colorSpaceConversion: "none", // handful ignores color profiles
  });
}

function bitmapSource(bitmap) {
  return {
    width: bitmap.width,
    height: bitmap.height,
    channels: 4,
    strip(left, top, width, rows) {
      const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
      context.fillStyle = "white"; // behind what is transparent
      context.fillRect(0, 0, width, rows);
      context.imageSmoothingEnabled = false;
      context.drawImage(bitmap, left, top, width, rows, 0, 0, width, rows);
      return context.getImageData(0, 0, width, rows).data;
    },
  };
}

function arraySource({ width, height, rgb }) {
  return {
    width,
    height,
    channels: 3,
    strip(left, top, kept, rows) {
      const part = new Uint8Array(kept * rows * 3);
      for (let row = 0; row < rows; row += 1) {
        const begin = ((top + row) * width + left) * 3;
        part.set(rgb.subarray(begin, begin + kept * 3), row * kept * 3);
      }
      return part;
    },
  };
}

// --- answers ----------------------------------------------------------------------------------

async function answer(square) {
  const side = settings.imageSize;
  const images = new ort.Tensor("uint8", square, [1, side, side, 3]);
  const { probabilities, embeddings } = await session.run({ images });
  const distance = reference ? distanceOf(embeddings.data) : null;
  return {
    probabilities: [...probabilities.data],
    distance,
    isUnlike: distance === null ? null : distance > settings.reference.threshold,
  };
}

// Mean of 1 - cosine over the nearest training photos.
function distanceOf(embedding) {
  const { numPhotos, numNeighbors } = settings.reference;
  const size = embedding.length;
  const length = Math.max(Math.hypot(...embedding), 1e-9);
  const nearest = [];
  for (let row = 0; row < numPhotos; row += 1) {
    let sum = 0;
    for (let i = 0, place = row * size; i < size; i += 1, place += 1) sum += reference[place] * embedding[i];
    const cosine = sum / (length * Math.max(lengths[row], 1e-9));
    if (nearest.length < numNeighbors || cosine > nearest[0]) {
      nearest.push(cosine);
      nearest.sort((a, b) => a - b);
      if (nearest.length > numNeighbors) nearest.shift();
    }
  }
  return nearest.reduce((sum, cosine) => sum + 1 - cosine, 0) / nearest.length;
}

async function classify({ image, array, wantsSquare }) {
  let square;
  if (array) {
    square = squareOf(arraySource(array));
  } else {
    const bitmap = await decoded(image);
    square = squareOf(bitmapSource(bitmap));
    bitmap.close();
  }
  const kept = wantsSquare ? square.slice() : null;
  return { ...(await answer(square)), square: kept };
}

// One after another: a session takes one at a time.
let last = Promise.resolve();
self.onmessage = ({ data: { id, kind, ...job } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await (kind === "start" ? start(job) : classify(job)) });
    } catch (error) {
      self.postMessage({ id, error: String((error && error.message) || error) });
    }
  });
};
