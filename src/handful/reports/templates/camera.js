// A camera for any page: seen in a <video>, its frames as files.

const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it at the address bar, then try again; or choose a photo instead.",
  NotFoundError: "No camera was found. Connect one and try again, or choose a photo instead.",
  NotReadableError: "Another program uses the camera. Close it and try again, or choose a photo instead.",
};

// Browsers give a camera to pages from this computer or from https alone; elsewhere an
// <input type="file" accept="image/*" capture="environment"> opens a phone's own camera.
export function hasCamera() {
  return Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
}

// Show the camera in a <video>; an Error says in a sentence or two why that cannot be.
export async function openCamera(video, ideal = { width: 1280, height: 960 }) {
  try {
    const { width, height } = ideal;
    const wanted = { facingMode: "environment", width: { ideal: width }, height: { ideal: height } };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    await video.play();
  } catch (error) {
    closeCamera(video);
    throw new Error(REASONS[error.name] || `The camera cannot be used (${error.name}). Choose a photo instead.`);
  }
}

export function closeCamera(video) {
  if (!video) return;
  for (const track of video.srcObject ? video.srcObject.getTracks() : []) track.stop();
  video.srcObject = null;
}

// What the camera sees now, as a file of the kind that its name says; its shorter side has `side`
// pixels at most (0 for all).
export async function pictureOf(video, name = "camera.jpg", side = 0, quality = 0.92) {
  const scale = side ? Math.min(1, side / Math.min(video.videoWidth, video.videoHeight)) : 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const type = name.endsWith(".png") ? "image/png" : "image/jpeg";
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  return new File([blob], name, { type });
}
