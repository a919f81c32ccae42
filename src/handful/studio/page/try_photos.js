// Photos to try the classifier on: dropped or chosen, answered one after another; or the camera's
// image, answered all the time.
import { post, sendFile } from "asking";
import { closeCamera, hasCamera, openCamera, pictureOf } from "camera";

const FRAME_SIDE = 400; // more than a network takes
const MAP_EVERY = 3;
const TOLD_MS = 2000; // a screen reader hears an answer so often at most
const FOR = [222, 98, 34], AGAINST = [37, 99, 201];

const Answer = {
  props: ["answer"],
  template: `
  <p class="headline" :class="{unsure: !answer.is_sure}">{{ answer.headline }}</p>
  <p v-if="answer.unusual" class="wrong-text">Unusual: {{ answer.unusual }}.</p>
  <div v-for="bar in answer.bars" class="bar-row"><span>{{ bar[0] }}</span><i class="bar"><i :style="{width: 100 * bar[1] + '%'}"></i></i><span class="number">{{ bar[2] }}</span></div>`,
};

// A map as colors, over the part of the picture that the network saw.
function drawMap(canvas, map) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!map) return;
  const height = map.rows.length, width = map.rows[0].length;
  const small = new OffscreenCanvas(width, height), pixels = new ImageData(width, height);
  map.rows.flat().forEach((value, place) => {
    pixels.data.set([...(value > 0 ? FOR : AGAINST), 170 * Math.abs(value)], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const [left, top, right, bottom] = map.seen;
  const [w, h] = [canvas.width, canvas.height];
  context.imageSmoothingQuality = "high";
  context.drawImage(small, left * w, top * h, (right - left) * w, (bottom - top) * h);
}

export default {
  components: { Answer },
  props: ["classes"],
  template: `
  <div @dragover.prevent="over = true" @dragleave.self="over = false" @drop.prevent="drop">
    <div v-show="!isOpen" class="empty small" :class="{over}">
      <p><b>Drop photos here</b> to see what the classifier says.</p>
      <p class="row center">
        <button class="primary" @click="$refs.files.click()">Choose photos</button>
        <button v-if="hasCamera" ref="camera" @click="open">Use the camera</button>
        <button v-else @click="$refs.capture.click()">Take a photo</button>
      </p>
      <input ref="files" type="file" multiple class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
      <input v-if="!hasCamera" ref="capture" type="file" accept="image/*" capture="environment" class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
      <p class="faint">They are not kept, but for those that you correct.</p>
    </div>
    <p v-if="trouble" class="note wrong-text" role="alert">{{ trouble }}</p>
    <section v-show="isOpen" class="card live" aria-label="Camera">
      <div>
        <div class="live-picture">
          <video ref="video" playsinline muted aria-label="What the camera sees"></video>
          <canvas ref="map" width="320" height="240" aria-hidden="true" v-show="showsMap"></canvas>
        </div>
        <p class="row">
          <button class="primary" @click="keep">Keep this picture</button>
          <button @click="pause">{{ isPaused ? "Go on" : "Pause" }}</button>
          <button @click="close">Close the camera</button>
        </p>
        <p class="row"><label class="row"><input type="checkbox" v-model="showsMap"> Show where it looks</label>
          <span class="faint small rate">{{ rate ? rate + " answers a second" : "" }}</span></p>
      </div>
      <div class="live-answer">
        <Answer v-if="live" :answer="live"></Answer>
        <p v-else class="faint">Looking ...</p>
        <p v-if="showsMap && map" class="faint small"><b class="for">Orange</b> speaks for {{ map.label }}, <b class="against">blue</b> for {{ map.rival }}.</p>
      </div>
    </section>
    <p class="unseen" role="status">{{ told }}</p>
    <ul class="answers">
      <li v-for="one in answers" :key="one.key" class="card answer">
        <img :src="one.url" :alt="one.name" @error="one.url = ''" v-show="one.url">
        <div>
          <p v-if="one.error" class="wrong-text"><b>{{ one.error }}</b></p>
          <p v-else-if="!one.answer" class="faint">Looking ...</p>
          <template v-else>
            <Answer :answer="one.answer"></Answer>
            <p class="row" role="status" v-if="one.said">{{ one.said }} <button v-if="!one.isUndone" @click="undo(one)">Undo</button></p>
            <select v-else :aria-label="'Wrong? What ' + one.name + ' is'" @change="correct(one, $event)">
              <option value="">Wrong, it is ...</option><option v-for="name in classes" :value="name">{{ name }}</option></select>
          </template>
          <p class="faint name">{{ one.name }}</p>
        </div>
      </li>
    </ul>
  </div>`,
  data() {
    return {
      over: false, answers: [], told: "", next: 0, trouble: "", hasCamera: hasCamera(),
      isOpen: false, isPaused: false, live: null, map: null, showsMap: true, rate: 0,
    };
  },
  beforeUnmount() { closeCamera(this.$refs.video); },
  methods: {
    async drop(event) {
      this.over = false;
      const isFolder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
      this.trouble = isFolder ? "This is a folder: choose it below, at “A whole folder”." : "";
      if (!isFolder) await this.ask([...event.dataTransfer.files]);
    },
    async choose(event) {
      const files = [...event.target.files];
      event.target.value = "";
      await this.ask(files);
    },
    async ask(files) {
      const fresh = files.map((file) => ({ key: this.next++, file, name: file.name, url: URL.createObjectURL(file), answer: null, error: "", said: "", isUndone: false }));
      this.answers = [...fresh, ...this.answers];
      for (const { key, file } of fresh) {
        const one = this.answers.find((found) => found.key === key);
        const found = await sendFile("/data/classify", file);
        if (found.error) one.error = found.error;
        else one.answer = found;
      }
      this.told = `${files.length} answered.`;
    },
    async correct(one, event) {
      const name = event.target.value;
      event.target.value = "";
      const { said, error } = await sendFile(`/data/correct?${new URLSearchParams({ name })}`, one.file);
      one.said = `${error || said}`.replace(/\.?$/, ".");
      one.isUndone = Boolean(error);
    },
    async undo(one) {
      const { said, error } = await post("/data/act", { action: "undo" });
      one.said = `${error || said}`.replace(/\.?$/, ".");
      one.isUndone = true;
    },
    async open() {
      this.trouble = "";
      this.$refs.camera.disabled = true; // a second stream could not be closed
      try {
        await openCamera(this.$refs.video, { width: 640, height: 480 });
        Object.assign(this, { isOpen: true, isPaused: false, live: null, map: null, rate: 0 });
        this.watch();
      } catch (error) {
        this.trouble = error.message;
      }
      this.$refs.camera.disabled = false;
    },
    close() {
      this.isOpen = false;
      closeCamera(this.$refs.video);
      this.$nextTick(() => this.$refs.camera.focus());
    },
    pause() {
      this.isPaused = !this.isPaused;
      if (this.isPaused) this.$refs.video.pause();
      else this.$refs.video.play().then(() => this.watch());
    },
    keep() {
      const name = `camera ${this.next + 1}.jpg`;
      pictureOf(this.$refs.video, name).then((file) => this.ask([file]));
    },
    // One frame at a time: asked, shown, then the next.
    async watch() {
      let [frames, since, toldAt] = [0, performance.now(), 0];
      while (this.isOpen && !this.isPaused) {
        try {
          const frame = await pictureOf(this.$refs.video, "camera.jpg", FRAME_SIDE, 0.85);
          const withMap = this.showsMap && frames % MAP_EVERY === 0;
          const found = await sendFile(withMap ? "/data/classify?map=1" : "/data/classify", frame);
          if (!this.isOpen || this.isPaused) return;
          if (found.error) throw new Error(found.error);
          this.trouble = "";
          this.show(found);
        } catch (error) {
          this.trouble = `The camera's image got no answer: ${error.message}`;
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
        frames += 1;
        const now = performance.now();
        if (frames % 10 === 0) {
          this.rate = Math.round(10000 / (now - since));
          since = now;
        }
        if (this.live && now - toldAt > TOLD_MS) {
          this.told = this.live.headline;
          toldAt = now;
        }
        await new Promise(requestAnimationFrame);
      }
    },
    show(found) {
      this.live = found;
      if (found.map === undefined) return;
      this.map = found.map;
      const { video, map } = this.$refs;
      map.height = Math.round((map.width * video.videoHeight) / video.videoWidth);
      drawMap(map, found.map);
    },
  },
};
