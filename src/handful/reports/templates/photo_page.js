// What pages to try photos on share. Each has a script of its own after this one, with
// `add(files)`, `forget()` (drops what waits, tells how many), `watchCamera()` (it is
// open), `ENDING` of its pictures and `CAMERA_SIZE`.
const MOST_BARS = 5;
const $ = (id) => document.getElementById(id);
let total = 0, done = 0, unreadable = 0, unanswered = 0, shots = 0;

// As `format_share` in wording.py: 0 and 100 are said only of exactly these.
function percent(share) {
  if (share === 0 || share === 1) return `${100 * share} %`;
  for (const digits of [1, 2, 3]) {
    const text = (100 * share).toFixed(digits);
    if (0 < Number(text) && Number(text) < 100) return `${text} %`;
  }
  return share < 0.5 ? "0.001 %" : "99.999 %";
}

// --- cards ------------------------------------------------------------------------------------

function addCard(file) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  card.querySelector(".name").textContent = file.name;
  card.querySelector(".answer").textContent = "…";
  card.classList.add("bare");
  const picture = card.querySelector("img");
  const forgetUrl = () => URL.revokeObjectURL(picture.src);
  picture.addEventListener("load", () => {
    picture.hidden = false;
    card.classList.remove("bare");
    forgetUrl();
  });
  picture.addEventListener("error", forgetUrl);
  picture.src = URL.createObjectURL(file);
  $("results").prepend(card);
  total += 1;
  return card;
}

// Put an answer into a card; gives what it says. `shares` are pairs of class and probability.
function showAnswer(card, shares, isSure, isUnlike) {
  const sorted = [...shares].sort((a, b) => b[1] - a[1]);
  const label = sorted[0][0];
  const text = isSure ? label : `Not sure – perhaps ${label}`;
  card.querySelector(".answer").textContent = text;
  card.querySelector(".note").textContent = isUnlike
    ? "Looks unlike the training photos, it may be none of these classes." : "";
  card.classList.toggle("unsure", !isSure);
  const bars = sorted.slice(0, MOST_BARS).map((pair) => makeBar(...pair));
  card.querySelector(".bars").replaceChildren(...bars);
  return text;
}

function makeBar(label, share) {
  const row = $("bar").content.firstElementChild.cloneNode(true);
  const name = row.querySelector(".label");
  name.textContent = name.title = label;
  row.querySelector(".share").textContent = percent(share);
  row.querySelector(".part").style.width = `${100 * share}%`;
  return row;
}

function showFailure(card, file, why, isUnreadable) {
  if (isUnreadable) unreadable += 1;
  else unanswered += 1;
  card.classList.add("bad");
  card.querySelector(".answer").textContent = `${file.name} ${why}`;
  card.querySelector(".name").textContent = isUnreadable ? "Not read" : "No answer";
}

function tellStatus() {
  $("tools").hidden = !total;
  const files = `${total} ${total === 1 ? "file" : "files"}`;
  const bad = [[unreadable, "could not be read"], [unanswered, "got no answer"]]
    .filter(([number]) => number)
    .map(([number, what]) => `, ${number} of them ${what}`)
    .join("");
  if (!total) $("status").textContent = "";
  else $("status").textContent = done < total ? `${done} of ${files} done …` : `${files} done${bad}.`;
}

function clearResults() {
  total -= done + forget();
  done = unreadable = unanswered = 0;
  $("results").replaceChildren();
  tellStatus();
  $("choose").focus();
}

// --- how often it may be wrong ----------------------------------------------------------------

// Pairs of an error rate and the option's value.
function offerErrorRates(pairs) {
  const select = $("error-rate");
  // Never rarer than it may be: 28 % is 1 in 3.
  const options = pairs.map(([rate, value]) => new Option(`1 in ${Math.floor(1 / rate + 1e-9)}`, String(value)));
  select.replaceChildren(...options, new Option("off, always answer", ""));
  // 1 in 100 where that can be shown, else the smallest that can.
  const usual = pairs.findIndex(([rate]) => rate === 0.01);
  select.selectedIndex = usual >= 0 ? usual : Math.max(0, pairs.length - 1);
  $("options").hidden = !pairs.length;
}

// --- the camera -------------------------------------------------------------------------------

async function showCamera() {
  $("camera").disabled = true; // a second stream could not be closed
  try {
    await openCamera($("video"), CAMERA_SIZE);
  } catch (error) {
    hideCamera();
    $("status").textContent = error.message;
    return;
  }
  $("drop").hidden = true; // a phone has room for one
  $("viewfinder").hidden = false;
  $("shoot").focus();
  watchCamera();
}

function hideCamera() {
  closeCamera($("video"));
  $("viewfinder").hidden = true;
  $("drop").hidden = false;
  $("camera").disabled = false;
  $("camera").focus();
}

async function shoot() {
  shots += 1;
  add([await pictureOf($("video"), `camera ${shots}.${ENDING}`)]);
}

// A phone's own camera app, where the page may not use the camera itself.
function offerCamera() {
  $("camera").hidden = !hasCamera();
  $("capture-label").hidden = $("capture").hidden = hasCamera();
}

// --- events -----------------------------------------------------------------------------------

function listen() {
  for (const id of ["choose", "capture"]) {
    $(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  $("camera").addEventListener("click", showCamera);
  $("shoot").addEventListener("click", shoot);
  $("close-camera").addEventListener("click", hideCamera);
  $("clear").addEventListener("click", clearResults);
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
