// The page's own script: photos in, one request each, answers out. Nothing from elsewhere.
// Addresses are relative: a proxy may have put the page under any path.
"use strict";

const AT_ONCE = 4;
const TRIES = 5;
const MOST_BARS = 5;
const $ = (id) => document.getElementById(id);
// As `format_share` in wording.py: 0 and 100 are said only of exactly these.
function percent(share) {
  if (share === 0 || share === 1) return `${100 * share} %`;
  for (const digits of [1, 2, 3]) {
    const text = (100 * share).toFixed(digits);
    if (0 < Number(text) && Number(text) < 100) return `${text} %`;
  }
  return share < 0.5 ? "0.001 %" : "99.999 %";
}


let token = sessionStorage.getItem("handful-token") || "";
let model = null;
let stream = null;
let running = 0;
let done = 0;
let unreadable = 0;
let unanswered = 0;
let total = 0;
let shots = 0;
const queue = [];

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function begin() {
  let response;
  try {
    response = await fetch("model", { headers: headers() });
  } catch {
    $("about").textContent = "The server does not answer. Start it, then reload this page.";
    return;
  }
  if (response.status === 401) {
    $("about").textContent = "";
    $("token-error").textContent = token ? "This is not the server's token." : "";
    $("token-form").hidden = false;
    $("token").focus();
    return;
  }
  if (!response.ok) {
    $("about").textContent = `The server cannot describe its classifier (status ${response.status}).`;
    return;
  }
  model = await response.json();
  $("token-form").hidden = true;
  $("work").hidden = false;
  $("about").textContent = describe(model);
  offerErrorRates(model.calibration ? model.calibration.abstaining : []);
  const hasCamera = Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  $("camera").hidden = !hasCamera;
  // A phone's own camera app, where the page may not use the camera itself.
  $("capture-label").hidden = $("capture").hidden = hasCamera;
}

function describe(card) {
  const names = card.class_names;
  const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? ` and ${names.length - 8} more` : "");
  const figures = card.figures;
  if (!figures) return `Classes: ${shown}.`;
  const total = figures.num_images;
  const correct = Math.round(figures.accuracy * total);
  const [some, all] = [correct, total].map((number) => number.toLocaleString("en"));
  return `Classes: ${shown}. Correct on ${some} of ${all} photos it had not seen in training.`;
}

function offerErrorRates(rows) {
  const select = $("error-rate");
  select.replaceChildren();
  for (const row of rows) {
    const option = document.createElement("option");
    option.value = String(row.error_rate);
    // Never rarer than it may be: 28 % is 1 in 3.
    option.textContent = `1 in ${Math.floor(1 / row.error_rate + 1e-9)}`;
    select.append(option);
  }
  const never = document.createElement("option");
  never.value = "";
  never.textContent = "off, always answer";
  select.append(never);
  // 1 in 100 where that can be shown, else the smallest that can.
  const usual = rows.findIndex((row) => row.error_rate === 0.01);
  select.selectedIndex = usual >= 0 ? usual : Math.max(0, rows.length - 1);
  $("options").hidden = !rows.length;
}

function add(files) {
  for (const file of files) {
    const card = makeCard(file);
    $("results").prepend(card);
    queue.push({ file, card });
    total += 1;
  }
  $("tools").hidden = !total;
  tellStatus();
  next();
}

function next() {
  while (running < AT_ONCE && queue.length) {
    const job = queue.shift();
    running += 1;
    ask(job.file)
      .then((answer) => showAnswer(job, answer))
      .catch((error) => showError(job, error))
      .finally(() => {
        running -= 1;
        done += 1;
        tellStatus();
        next();
      });
  }
}

// A photo that cannot be classified, whoever is asked.
class Unreadable extends Error {}

async function ask(file) {
  const rate = $("error-rate").value;
  const address = rate ? `predict?error_rate=${encodeURIComponent(rate)}` : "predict";
  if (file.size > model.limits.max_body_bytes - 4096) {
    const most = model.limits.max_body_bytes / 1e6;
    throw new Unreadable(`is larger than the limit of ${most} MB`);
  }
  for (let attempt = 1; ; attempt += 1) {
    const form = new FormData();
    form.append("file", file, file.name);
    let response;
    try {
      response = await fetch(address, { method: "POST", body: form, headers: headers() });
    } catch {
      throw new Error("could not be sent: the server does not answer");
    }
    if (response.status === 503 && attempt < TRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok && answer.predictions && answer.predictions.length) {
      return answer.predictions[0];
    }
    if (answer.errors && answer.errors.length) {
      throw new Unreadable(answer.errors[0].reason);
    }
    throw new Error(`got no answer: ${answer.detail || `status ${response.status}`}`);
  }
}

function makeCard(file) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  card.querySelector(".name").textContent = file.name;
  card.querySelector(".answer").textContent = "…";
  card.classList.add("bare");
  const picture = card.querySelector("img");
  picture.addEventListener("load", () => {
    picture.hidden = false;
    card.classList.remove("bare");
    URL.revokeObjectURL(picture.src);
  });
  picture.addEventListener("error", () => URL.revokeObjectURL(picture.src));
  picture.src = URL.createObjectURL(file);
  return card;
}

function showAnswer({ card }, answer) {
  const sure = answer.is_confident !== false;
  card.querySelector(".answer").textContent = sure
    ? answer.label
    : `Not sure – perhaps ${answer.label}`;
  const notes = [];
  if (answer.is_out_of_distribution) {
    notes.push("Looks unlike the training photos, it may be none of these classes.");
  }
  card.querySelector(".note").textContent = notes.join(" ");
  card.classList.toggle("unsure", !sure);
  const shares = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, share] of shares.slice(0, MOST_BARS)) {
    card.querySelector(".bars").append(makeBar(label, share));
  }
}

function makeBar(label, share) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  name.className = "label";
  name.textContent = name.title = label;
  const value = document.createElement("span");
  value.className = "share";
  value.textContent = percent(share);
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 100 10");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  for (const [kind, width] of [["all", 100], ["part", 100 * share]]) {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    box.setAttribute("class", kind);
    box.setAttribute("width", String(width));
    box.setAttribute("height", "10");
    drawing.append(box);
  }
  row.append(name, drawing, value);
  return row;
}

function showError({ file, card }, error) {
  const isUnreadable = error instanceof Unreadable;
  if (isUnreadable) {
    unreadable += 1;
  } else {
    unanswered += 1;
  }
  card.classList.add("bad");
  card.querySelector(".answer").textContent = `${file.name} ${error.message}`;
  card.querySelector(".name").textContent = isUnreadable ? "Not read" : "No answer";
}

function tellStatus() {
  if (!total) {
    $("status").textContent = "";
    return;
  }
  const photos = (number) => `${number} ${number === 1 ? "file" : "files"}`;
  const bad = [[unreadable, "could not be read"], [unanswered, "got no answer"]]
    .filter(([number]) => number)
    .map(([number, what]) => `, ${number} of them ${what}`)
    .join("");
  $("status").textContent = done < total
    ? `${done} of ${photos(total)} done …`
    : `${photos(total)} done${bad}.`;
}

async function openCamera() {
  $("camera").disabled = true; // a second stream could not be closed
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    await $("video").play();
  } catch (error) {
    closeCamera();
    $("status").textContent = `The camera cannot be used (${error.name}). Choose a photo instead.`;
    return;
  }
  $("viewfinder").hidden = false;
  $("shoot").focus();
}

function closeCamera() {
  for (const track of stream ? stream.getTracks() : []) {
    track.stop();
  }
  stream = null;
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("camera").disabled = false;
  $("camera").focus();
}

function shoot() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  shots += 1;
  const name = `camera ${shots}.jpg`;
  canvas.toBlob((blob) => add([new File([blob], name, { type: "image/jpeg" })]), "image/jpeg", 0.92);
}

function clearResults() {
  queue.length = 0;
  $("results").replaceChildren();
  total = running;
  done = unreadable = unanswered = 0;
  $("tools").hidden = true;
  tellStatus();
  $("choose").focus();
}

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
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    sessionStorage.setItem("handful-token", token);
    begin();
  });
  // Anywhere on the page will do; a photo that misses the frame must not replace the page.
  let depth = 0;
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    $("drop").classList.add("over");
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    $("drop").classList.toggle("over", depth > 0);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    $("drop").classList.remove("over");
    if (model) {
      add([...event.dataTransfer.files]);
    }
  });
  document.addEventListener("paste", (event) => {
    if (model && event.clipboardData.files.length) {
      add([...event.clipboardData.files]);
    }
  });
}

listen();
begin();
