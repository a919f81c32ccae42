// The page's own script: photos in, answers out. It loads nothing and sends nothing.
"use strict";

const MOST_BARS = 5;
const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about-json").textContent);

// As `format_share` in wording.py: 0 and 100 are said only of exactly these.
function percent(share) {
  if (share === 0 || share === 1) return `${100 * share} %`;
  for (const digits of [1, 2, 3]) {
    const text = (100 * share).toFixed(digits);
    if (0 < Number(text) && Number(text) < 100) return `${text} %`;
  }
  return share < 0.5 ? "0.001 %" : "99.999 %";
}

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

// --- what an answer says ----------------------------------------------------------------------

function verdict({ probabilities, isUnlike }) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const chosen = $("error-rate").value;
  const threshold = chosen === "" ? -Infinity : Number(chosen);
  const isSure = Math.fround(probabilities[best]) >= Math.fround(threshold)
    && (chosen === "" || !isUnlike);
  const label = about.classNames[best];
  return {
    isSure,
    text: isSure ? label : `Not sure – perhaps ${label}`,
    note: isUnlike ? "Looks unlike the training photos, it may be none of these classes." : "",
  };
}

function showIn(card, answer) {
  const found = verdict(answer);
  card.querySelector(".answer").textContent = found.text;
  card.querySelector(".note").textContent = found.note;
  card.classList.toggle("unsure", !found.isSure);
  const shares = about.classNames.map((label, place) => [label, answer.probabilities[place]]);
  shares.sort((a, b) => b[1] - a[1]);
  const bars = shares.slice(0, MOST_BARS).map(([label, share]) => makeBar(label, share));
  card.querySelector(".bars").replaceChildren(...bars);
  return found;
}

function makeBar(label, share) {
  const row = $("bar").content.firstElementChild.cloneNode(true);
  const name = row.querySelector(".label");
  name.textContent = name.title = label;
  row.querySelector(".share").textContent = percent(share);
  row.querySelector(".part").style.width = `${100 * share}%`;
  return row;
}

function offerErrorRates() {
  const select = $("error-rate");
  for (const { errorRate, threshold } of about.abstaining) {
    // Never rarer than it may be: 28 % is 1 in 3.
    select.append(new Option(`1 in ${Math.floor(1 / errorRate + 1e-9)}`, String(threshold)));
  }
  select.append(new Option("off, always answer", ""));
  const usual = about.abstaining.findIndex(({ errorRate }) => errorRate === 0.01);
  select.selectedIndex = usual >= 0 ? usual : Math.max(0, about.abstaining.length - 1);
  $("options").hidden = !about.abstaining.length;
}

// --- photos -----------------------------------------------------------------------------------

let total = 0;
let done = 0;
let unreadable = 0;
let shots = 0;
const answers = new Map(); // card -> its answer

async function add(files) {
  for (const file of files) {
    const card = makeCard(file);
    $("results").prepend(card);
    total += 1;
    show(file, card);
  }
  $("tools").hidden = !total;
  tellStatus();
}

async function show(file, card) {
  try {
    const answer = await classify({ image: file });
    answers.set(card, answer);
    showIn(card, answer);
  } catch (error) {
    unreadable += 1;
    card.classList.add("bad");
    card.querySelector(".answer").textContent = `${file.name} ${reason(file, error)}`;
    card.querySelector(".name").textContent = "Not read";
  }
  done += 1;
  tellStatus();
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

function makeCard(file) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  card.querySelector(".name").textContent = file.name;
  card.querySelector(".answer").textContent = "…";
  card.classList.add("bare");
  const picture = card.querySelector("img");
  const forget = () => URL.revokeObjectURL(picture.src);
  picture.addEventListener("load", () => {
    picture.hidden = false;
    card.classList.remove("bare");
    forget();
  });
  picture.addEventListener("error", forget);
  picture.src = URL.createObjectURL(file);
  return card;
}

function tellStatus() {
  const files = `${total} ${total === 1 ? "file" : "files"}`;
  const bad = unreadable ? `, ${unreadable} of them could not be read` : "";
  if (!total) $("status").textContent = "";
  else $("status").textContent = done < total ? `${done} of ${files} done …` : `${files} done${bad}.`;
}

function clearResults() {
  $("results").replaceChildren();
  answers.clear();
  total -= done;
  done = unreadable = 0;
  $("tools").hidden = true;
  tellStatus();
  $("choose").focus();
}

// --- the camera -------------------------------------------------------------------------------

let stream = null;
let frames = 0;
let said = "";

async function openCamera() {
  $("camera").disabled = true; // a second stream could not be closed
  try {
    const video = { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } };
    stream = await navigator.mediaDevices.getUserMedia({ video });
    $("video").srcObject = stream;
    await $("video").play();
  } catch (error) {
    closeCamera();
    $("status").textContent = `The camera cannot be used (${error.name}). Choose a photo instead.`;
    return;
  }
  $("drop").hidden = true; // a phone has room for one
  $("viewfinder").hidden = false;
  $("shoot").focus();
  watch(stream);
}

async function watch(own) {
  while (stream === own) {
    if ($("video").readyState >= 2) {
      try {
        const frame = await createImageBitmap($("video"));
        const answer = await classify({ image: frame }, [frame]);
        if (stream === own) showLive(answer);
      } catch (error) {
        $("live").querySelector(".answer").textContent = `No answer (${error.message})`;
      }
    }
    await new Promise(requestAnimationFrame);
  }
}

function showLive(answer) {
  frames += 1;
  const { text } = showIn($("live"), answer);
  // A screen reader hears a change, and not each frame.
  if (text !== said && frames % 20 === 1) {
    said = text;
    $("heard").textContent = text;
  }
}

function closeCamera() {
  for (const track of stream ? stream.getTracks() : []) track.stop();
  stream = null;
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("drop").hidden = false;
  $("camera").disabled = false;
  $("camera").focus();
}

function shoot() {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  shots += 1;
  const name = `camera ${shots}.png`; // its pixels as they were classified
  canvas.toBlob((blob) => add([new File([blob], name, { type: "image/png" })]), "image/png");
}

// --- events -----------------------------------------------------------------------------------

function listen() {
  for (const id of ["choose", "capture"]) {
    $(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  $("camera").addEventListener("click", openCamera);
  $("shoot").addEventListener("click", shoot);
  $("close-camera").addEventListener("click", closeCamera);
  $("clear").addEventListener("click", clearResults);
  $("error-rate").addEventListener("change", () => {
    for (const [card, answer] of answers) showIn(card, answer);
  });
  // Anywhere on the page will do; a photo that misses the frame must not replace the page.
  let depth = 0;
  const mark = () => $("drop").classList.toggle("over", depth > 0);
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    mark();
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    mark();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    mark();
    add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
}

function offerCamera() {
  const hasCamera = Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  $("camera").hidden = !hasCamera;
  // A phone's own camera app, where the page may not use the camera itself.
  $("capture-label").hidden = $("capture").hidden = hasCamera;
}

offerErrorRates();
offerCamera();
listen();
ready.then(
  () => {
    $("loading").textContent = "Ready. Photos stay on this device; it works without a network.";
    document.body.dataset.state = "ready";
  },
  (error) => {
    $("loading").textContent = `This browser cannot run the classifier (${error.message}). Open the `
      + "file in a current Chrome, Edge, Firefox or Safari.";
    document.body.dataset.state = "failed";
  },
);
