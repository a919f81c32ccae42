// A camera for any page: seen in a <video>, its frames as JPEG files.
//
//   import { closeCamera, hasCamera, openCamera, pictureOf } from "camera";

const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it at the address bar, then try again; or choose photos instead.",
  NotFoundError: "No camera was found. Connect one and try again, or choose photos instead.",
  NotReadableError: "Another program uses the camera. Close it and try again, or choose photos instead.",
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
    throw new Error(REASONS[error.name] || `The camera cannot be used (${error.name}). Choose photos instead.`);
  }
}

export function closeCamera(video) {
  if (!video) return;
  for (const track of video.srcObject ? video.srcObject.getTracks() : []) track.stop();
  video.srcObject = null;
}

// What the camera sees now, as a JPEG; its shorter side has `side` pixels at most (0 for all).
export async function pictureOf(video, name = "camera.jpg", side = 0, quality = 0.92) {
  const shorter = Math.min(video.videoWidth, video.videoHeight);
  const scale = side ? Math.min(1, side / shorter) : 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  return new File([blob], name, { type: "image/jpeg" });
}
