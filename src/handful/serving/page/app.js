// The page's own script: photos in, one request each, answers out. Nothing from elsewhere.
// Addresses are relative: a proxy may have put the page under any path.
const AT_ONCE = 4;
const TRIES = 5;
const ENDING = "jpg";
const CAMERA_SIZE = { width: 1280, height: 960 };

let token = takeToken() || sessionStorage.getItem("handful-token") || "";
let model = null;
let running = 0;
const queue = [];

// A token that came behind the address's #, which no server and no log sees; it is not left there.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  sessionStorage.setItem("handful-token", found);
  return found;
}

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
  const rules = model.calibration ? model.calibration.abstaining : [];
  offerErrorRates(rules.map(({ error_rate: rate }) => [rate, rate]));
  offerCamera();
  if (model.takes_corrections) {
    $("hint").textContent = "Photos are sent to this server only; it keeps those that you correct, and no others.";
  }
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

function add(files) {
  if (!model) return;
  for (const file of files) queue.push({ file, card: addCard(file) });
  tellStatus();
  next();
}

function next() {
  while (running < AT_ONCE && queue.length) {
    const { file, card } = queue.shift();
    running += 1;
    ask(file)
      .then((answer) => {
        const isSure = answer.is_confident !== false;
        showAnswer(card, Object.entries(answer.probabilities), isSure, answer.is_out_of_distribution);
        if (model.takes_corrections) offerCorrection(file, card, answer.label);
      })
      .catch((error) => showFailure(card, file, error.message, error instanceof Unreadable))
      .finally(() => {
        running -= 1;
        done += 1;
        tellStatus();
        next();
      });
  }
}

function forget() {
  const waiting = queue.length;
  queue.length = 0;
  return waiting;
}

function watchCamera() {}

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

function offerCorrection(file, card, predicted) {
  const line = $("correction").content.firstElementChild.cloneNode(true);
  const select = line.querySelector("select");
  const names = model.class_names.filter((name) => name !== predicted);
  select.append(new Option("Wrong, it is …", ""), ...names.map((name) => new Option(name, name)));
  select.setAttribute("aria-label", `Wrong? What ${file.name} is`);
  select.addEventListener("change", () => {
    if (select.value) correct(file, line, predicted, select.value);
  });
  card.querySelector(".found").append(line);
}

async function correct(file, line, predicted, label) {
  const [select, told] = [line.querySelector("select"), line.querySelector("span")];
  select.disabled = true;
  told.textContent = "…";
  const form = new FormData();
  form.append("file", file, file.name);
  const address = `corrections?${new URLSearchParams({ label, predicted })}`;
  const response = await fetch(address, { method: "POST", body: form, headers: headers() }).catch(() => null);
  if (response && response.ok) {
    told.textContent = `Thank you. It is noted as ${label}, for whoever keeps the classifier.`;
    return;
  }
  const answer = response ? await response.json().catch(() => ({})) : { detail: "the server does not answer" };
  told.textContent = `Not noted: ${answer.detail || `status ${response.status}`}`;
  select.value = "";
  select.disabled = false;
}

listen();
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("handful-token", token);
  begin();
});
begin();
