// Photos taken with the camera, one or as long as the button is held, and given on as files.
import { closeCamera, openCamera, pictureOf } from "camera";

const BURST_MS = 250;

export default {
  emits: ["taken", "close"],
  template: `
  <section class="camera card" aria-label="Camera">
    <p v-if="trouble" class="note wrong-text" role="alert">{{ trouble }}</p>
    <video ref="video" playsinline muted aria-label="What the camera sees" v-show="!trouble"></video>
    <p class="row">
      <button class="primary" :disabled="!!trouble" @click="take">Take a photo</button>
      <button :disabled="!!trouble" :aria-pressed="String(isBurst)" @click="burst">{{ isBurst ? "Stop" : "Take four a second" }}</button>
      <button @click="$emit('close')">Close the camera</button>
      <span class="faint" role="status">{{ count ? count + (count === 1 ? " photo" : " photos") + " taken" : "" }}</span>
    </p>
  </section>`,
  data() { return { trouble: "", count: 0, isBurst: false }; },
  async mounted() {
    this.number = 0;
    this.begun = new Date().toISOString().slice(0, 19).replaceAll(/[:T]/g, "-");
    try { await openCamera(this.$refs.video); } catch (error) { this.trouble = error.message; }
  },
  beforeUnmount() {
    clearTimeout(this.timer);
    closeCamera(this.$refs.video);
  },
  methods: {
    async take() {
      const name = `camera-${this.begun}-${String(++this.number).padStart(3, "0")}.jpg`;
      this.$emit("taken", await pictureOf(this.$refs.video, name));
      this.count += 1;
    },
    burst() {
      this.isBurst = !this.isBurst;
      const next = async () => {
        if (!this.isBurst) return;
        await this.take();
        this.timer = setTimeout(next, BURST_MS);
      };
      next();
    },
  },
};
