// What the studio's server is asked, and its answers: plain values, with `error` where there is none.
export async function send(path, options) {
  const response = await fetch(path, options).catch(() => null);
  if (!response) return { error: "The studio does not answer; is it still running?" };
  const found = await response.json().catch(() => ({ error: `No answer: status ${response.status}.` }));
  if (!response.ok && !found.error) found.error = `No answer: status ${response.status}.`;
  return found;
}

export function post(path, values = {}) {
  const headers = { "content-type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(values) });
}

export function sendFile(path, file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return send(path, { method: "POST", body: form });
}
