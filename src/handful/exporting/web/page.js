// The page's own script: photos in, answers out. It loads nothing and sends nothing.
const ENDING = "png"; // its pixels as they were classified
const CAMERA_SIZE = { width: 640, height: 480 };
const about = JSON.parse($("about-json").textContent);

// --- the worker that computes -----------------------------------------------------------------

let worker = null;
let asked = 0;
const waiting = new Map();

function ask(job, transferred = []) {
  asked += 1;
  const id = asked;
  worker.postMessage({ id, ...job }, transferred);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function listenToWorker() {
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "it did not start"));
    waiting.clear();
  };
}

async function unpack(id) {
  const element = $(id);
  if (!element) return undefined;
  const text = atob(element.textContent);
  element.remove();
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function begin() {
  const [code, wasm, network, directions] = await Promise.all(
    ["code", "wasm", "network", "reference"].map(unpack),
  );
  worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  listenToWorker();
  const parts = [wasm, network, directions].filter(Boolean);
  await ask({ kind: "start", wasm, network, directions, settings: about }, parts);
}

const ready = begin();

async function classify(job, transferred) {
  await ready;
  return ask({ kind: "classify", ...job }, transferred);
}

// --- photos -----------------------------------------------------------------------------------

const answers = new Map(); // card -> its answer

function showIn(card, { probabilities, isUnlike }) {
  const chosen = $("error-rate").value;
  const threshold = chosen === "" ? -Infinity : Number(chosen);
  const isSure = Math.fround(Math.max(...probabilities)) >= Math.fround(threshold)
    && (chosen === "" || !isUnlike);
  const shares = about.classNames.map((label, place) => [label, probabilities[place]]);
  return showAnswer(card, shares, isSure, isUnlike);
}

function add(files) {
  for (const file of files) show(file, addCard(file));
  tellStatus();
}

async function show(file, card) {
  try {
    const answer = await classify({ image: file });
    answers.set(card, answer);
    showIn(card, answer);
  } catch (error) {
    showFailure(card, file, reason(file, error), true);
  }
  done += 1;
  tellStatus();
}

function forget() {
  answers.clear();
  return 0;
}

function reason(file, error) {
  if (/\.hei[cf]$/i.test(file.name)) {
    return "looks like a HEIC photo, which this browser cannot open. Save it as JPEG, or use Safari.";
  }
  if (/decode|source image|unsupported/i.test(error.message)) {
    return "is no photo that this browser can open. JPEG, PNG and WebP always work.";
  }
  return `got no answer (${error.message}). Reload the page and try again.`;
}

// --- the camera, answered live ----------------------------------------------------------------

let frames = 0;
let said = "";

async function watchCamera() {
  const stream = $("video").srcObject;
  while ($("video").srcObject === stream) {
    if ($("video").readyState >= 2) {
      try {
        const frame = await createImageBitmap($("video"));
        const answer = await classify({ image: frame }, [frame]);
        if ($("video").srcObject === stream) showLive(answer);
      } catch (error) {
        $("live").querySelector(".answer").textContent = `No answer (${error.message})`;
      }
    }
    await new Promise(requestAnimationFrame);
  }
}

function showLive(answer) {
  frames += 1;
  const text = showIn($("live"), answer);
  // A screen reader hears a change, and not each frame.
  if (text !== said && frames % 20 === 1) {
    said = text;
    $("heard").textContent = text;
  }
}

offerErrorRates(about.abstaining.map(({ errorRate, threshold }) => [errorRate, threshold]));
offerCamera();
listen();
$("error-rate").addEventListener("change", () => {
  for (const [card, answer] of answers) showIn(card, answer);
});
ready.then(
  () => {
    $("hint").textContent = "Ready. Photos stay on this device; it works without a network.";
    document.body.dataset.state = "ready";
  },
  (error) => {
    $("hint").textContent = `This browser cannot run the classifier (${error.message}). Open the `
      + "file in a current Chrome, Edge, Firefox or Safari.";
    document.body.dataset.state = "failed";
  },
);
