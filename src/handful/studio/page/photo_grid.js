// The grid of photos: what is seen of ten thousand is in the page, selection and keys answer here.
import PhotoCamera from "photo_camera";
import PhotoPreview from "photo_preview";

const GAP = 10;
const SMALLEST = 90, USUAL = 150, LARGEST = 320; // sides of photos, pixels
const DRAGGED = "application/x-handful-photos";
const WIDE = 1100; // from here on the preview stands beside the grid
const KEYS = [
  ["1 to 9", "give the selected photos a class"],
  ["Enter", "accept what is suggested"],
  ["X", "leave out"],
  ["U", "unsort"],
  ["Ctrl+Z", "undo"],
  ["Ctrl+Shift+Z", "redo"],
  ["Arrows", "move; with Shift, select on the way"],
  ["Space", "select or deselect"],
  ["P", "show the photo large"],
  ["Ctrl+A, Esc", "select all, none"],
];

// What dropping photos on a filter does to them.
const ACTIONS = { class: "assign", unsorted: "unsort", "left-out": "leave_out" };

async function send(path, options) {
  const response = await fetch(path, options);
  const found = await response.json().catch(() => ({ error: `got no answer: status ${response.status}` }));
  if (!response.ok && !found.error) found.error = `got no answer: status ${response.status}`;
  return found;
}

// A photo as a form's file; a zip as it is, for it may be large.
function sendFile(file) {
  if (/\.zip$/i.test(file.name)) return send(`/data/zips?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  const form = new FormData();
  form.append("file", file, file.name);
  return send("/data/upload", { method: "POST", body: form });
}

// What a page remembers between visits; some browsers keep nothing.
function remembered(name) {
  try { return localStorage.getItem(`handful-${name}`); } catch { return null; }
}
function remember(name, value) {
  try { localStorage.setItem(`handful-${name}`, value); } catch { /* the next visit begins anew */ }
}

// Files of what was dropped; folders are gone through.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const visit = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((done, fail) => entry.file(done, fail)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const one of some) await visit(one);
    }
  };
  for (const entry of entries) await visit(entry);
  return found.filter((file) => !file.name.startsWith("."));
}

export default {
  components: { PhotoCamera, PhotoPreview },
  template: `
  <div class="photos-page" @dragover.prevent="over = !isDragged" @dragleave.self="over = false" @drop.prevent="drop">
    <input ref="files" type="file" multiple class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
    <input ref="folder" type="file" webkitdirectory class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
    <template v-if="!view"><p class="faint pad" role="status">Loading the photos ...</p></template>
    <template v-else-if="!count">
      <div class="empty" :class="{over}">
        <h1>Drop photos here</h1>
        <p>or choose them. They stay on this computer, and none of your files is changed.</p>
        <p class="row center">
          <button class="primary" @click="$refs.files.click()">Choose photos</button>
          <button @click="$refs.folder.click()">Choose a folder</button>
          <button @click="hasCamera = true">Use the camera</button>
        </p>
        <p><button class="plain" @click="example">Try it with cats and dogs</button></p>
        <p class="faint" role="status">{{ uploading || view.busy || "JPEG, PNG, HEIC, WebP, TIFF and others, folders and zips of them" }}</p>
      </div>
      <photo-camera v-if="hasCamera" class="alone" @taken="upload([$event])" @close="hasCamera = false"></photo-camera>
    </template>
    <template v-else>
      <h1 class="unseen">Photos</h1>
      <div class="row tools">
        <button class="primary" @click="$refs.files.click()">Add photos</button>
        <button class="wide-only" @click="$refs.folder.click()">Add a folder</button>
        <button @click="hasCamera = !hasCamera" :aria-expanded="String(hasCamera)">Camera</button>
        <div class="row chips" role="group" aria-label="Which photos are shown">
          <button v-for="chip in view.chips" :key="chip.key" class="chip" :aria-pressed="String(view.shown === chip.key)"
            :class="{over: target === chip.key}" @dragover="overChip($event, chip.key)" @dragleave="target = ''" @drop="dropOn($event, chip.key)"
            @click="show(chip.key)"><kbd v-if="chip.number">{{ chip.number }}</kbd>{{ chip.name }} <b v-if="chip.count !== null">{{ chip.count.toLocaleString("en") }}</b></button>
        </div>
        <form class="row add-class" @submit.prevent="addClass">
          <input v-model="newClass" aria-label="Name of a new class" :placeholder="classes.length ? 'New class' : 'Name of the first class'" maxlength="100">
          <button :disabled="!newClass.trim()">Make class</button>
        </form>
      </div>
      <div class="row actions" role="toolbar" aria-label="What to do with the selected photos">
        <span class="faint hint" aria-live="polite">{{ hint }}</span>
        <button v-if="likely.length" class="assign" @click="accept"><kbd>Enter</kbd>{{ acceptText }}</button>
        <template v-if="targets.length">
          <div class="row assigns">
            <button v-for="(name, at) in classes" :key="name" class="assign" @click="act('assign', name)"><kbd v-if="at < 9">{{ at + 1 }}</kbd>{{ name }}</button>
          </div>
          <button @click="act('leave_out')"><kbd>X</kbd>Leave out</button>
          <button @click="act('unsort')"><kbd>U</kbd>Unsort</button>
        </template>
        <span class="space"></span>
        <label class="row size wide-only"><span class="faint">Size</span><input type="range" :min="smallest" :max="largest" step="10" v-model.number="wanted" aria-label="Size of the photos" @input="resized"></label>
        <button v-if="!isHelped" class="wide-only" :aria-pressed="String(isNewest)" @click="turn">Newest first</button>
        <button :disabled="!cells.length" :aria-pressed="String(isLarge)" @click="look">Large</button>
        <button :disabled="!view.undo" :title="view.undo" @click="act('undo')">Undo</button>
        <button :disabled="!view.redo" :title="view.redo" @click="act('redo')">Redo</button>
        <button class="wide-only" :aria-expanded="String(keysShown)" @click="keysShown = !keysShown">Keys</button>
      </div>
      <dl v-if="keysShown" class="keys"><div v-for="pair in keys"><dt><kbd>{{ pair[0] }}</kbd></dt><dd>{{ pair[1] }}</dd></div></dl>
      <photo-camera v-if="hasCamera" @taken="upload([$event])" @close="hasCamera = false"></photo-camera>
      <p v-if="uploading || view.busy" class="busy" role="status">{{ uploading || view.busy }}</p>
      <details v-if="view.rejected.length" class="busy"><summary>{{ view.rejected.length }} {{ view.rejected.length === 1 ? "file" : "files" }} cannot be used</summary>
        <ul><li v-for="pair in view.rejected">{{ pair[0] }} {{ pair[1] }}</li></ul></details>
      <div class="beside" :class="{'with-preview': hasPreview}">
      <div ref="scroll" class="grid" role="listbox" aria-multiselectable="true" tabindex="0" :aria-label="gridLabel"
        :aria-activedescendant="cells[active] ? 'photo-' + cells[active][0] : null"
        @scroll.passive="measure" @pointerdown="beginLasso" :class="{over}">
        <p v-if="!cells.length" class="faint pad">{{ nothing }}</p>
        <div :style="{height: height + 'px', position: 'relative'}" role="presentation">
          <div v-if="lasso" class="lasso" :style="lassoStyle" aria-hidden="true"></div>
          <div v-for="one in visible" :key="one.id" :id="'photo-' + one.id" class="cell" role="option"
            :class="{active: one.at === active, out: one.out}" :aria-selected="String(selected.has(one.id))" :aria-label="one.title"
            :style="one.style" @click="click(one.at, $event)" draggable="true" @dragstart="drag(one.at, $event)" @dragend="isDragged = false">
            <img :src="'/data/thumbnails/' + one.id" alt="" draggable="false" decoding="async">
            <span v-if="one.out" class="mark out">left out</span>
            <span v-else-if="one.label" class="mark">{{ one.label }}</span>
            <span v-else-if="one.hint" class="mark hint-mark" :class="{reason: !one.guess}">{{ one.hint }}</span>
            <span v-if="selected.has(one.id)" class="tick" aria-hidden="true">✓</span>
          </div>
        </div>
      </div>
      <photo-preview v-if="hasPreview" :photo="shownPhoto" :classes="classes" :version="view.version"
        @assign="act('assign', $event, [shownPhoto[0]])" @leave-out="act('leave_out', '', [shownPhoto[0]])" @close="isLarge = false"></photo-preview>
      </div>
    </template>
    <div class="toast" role="status" aria-live="polite"><span v-if="toast" :class="{wrong: toast.isError}">{{ toast.text }}
      <button v-if="toast.canUndo" @click="act('undo')">Undo</button></span></div>
  </div>`,
  data() {
    return {
      view: null, shown: "all", asked: 0, cells: [], selected: new Set(), active: -1, anchor: -1, over: false, newClass: "",
      width: 800, top: 0, seen: 600, uploading: "", toast: null, keysShown: false, keys: KEYS,
      wanted: USUAL, smallest: SMALLEST, largest: LARGEST, isNewest: false, isLarge: window.innerWidth >= WIDE, hasCamera: false,
      isDragged: false, target: "", lasso: null,
    };
  },
  computed: {
    count() { return this.view.chips[0].count; },
    classes() { return this.view.chips.filter((chip) => chip.key.startsWith("class:")).map((chip) => chip.name); },
    columns() { return Math.max(2, Math.floor((this.width + GAP) / (this.wanted + GAP))); },
    side() { return (this.width - GAP * (this.columns - 1)) / this.columns; },
    height() { return Math.ceil(this.cells.length / this.columns) * (this.side + GAP); },
    visible() {
      const line = this.side + GAP;
      const first = Math.max(0, Math.floor(this.top / line) - 2) * this.columns;
      const last = Math.min(this.cells.length, (Math.ceil((this.top + this.seen) / line) + 2) * this.columns);
      const found = [];
      for (let at = first; at < last; at += 1) {
        const [id, name, label, out, hint, guess] = this.cells[at];
        const x = (at % this.columns) * line;
        const y = Math.floor(at / this.columns) * line;
        const style = `width:${this.side}px;height:${this.side}px;transform:translate(${x}px,${y}px)`;
        const said = out ? "left out" : label || hint || "unsorted";
        found.push({ id, at, label, out, hint, guess, style, title: `${name}, ${said}` });
      }
      return found;
    },
    // What Enter accepts: the selected photos that have a suggestion, or the first group of all.
    likely() {
      if (this.view?.shown !== "alike") return [];
      const guessed = this.cells.filter((cell) => cell[5]);
      if (this.selected.size) return guessed.filter((cell) => this.selected.has(cell[0]));
      return guessed.filter((cell) => cell[4] === guessed[0][4] && cell[5] === guessed[0][5]);
    },
    acceptText() {
      const names = [...new Set(this.likely.map((cell) => cell[5]))];
      const whose = names.length === 1 ? `: ${names[0]}` : "";
      return `Accept ${this.likely.length}${whose}`;
    },
    targets() {
      if (this.selected.size) return [...this.selected];
      return this.active >= 0 && this.cells[this.active] ? [this.cells[this.active][0]] : [];
    },
    hint() {
      if (!this.classes.length) return "Name a class, then select photos and press its number.";
      if (this.selected.size) return `${this.selected.size.toLocaleString("en")} selected:`;
      if (this.likely.length) return "Select what does not belong, or:";
      return this.targets.length ? "This photo:" : "Click a photo, Shift+click for many; then press a number.";
    },
    isHelped() { return ["alike", "next"].includes(this.view?.shown); },
    hasPreview() { return this.isLarge && Boolean(this.shownPhoto); },
    shownPhoto() { return this.cells[this.active] ?? null; },
    lassoStyle() {
      const { left, top, right, bottom } = this.lasso;
      return { transform: `translate(${left}px,${top}px)`, width: `${right - left}px`, height: `${bottom - top}px` };
    },
    gridLabel() { return `${this.cells.length} photos`; },
    nothing() {
      if (this.view.busy) return "The photos are being looked at; this takes a moment, once.";
      if (["unsorted", "alike", "next"].includes(this.view.shown)) return "All photos are sorted.";
      return "There is no photo here.";
    },
  },
  watch: {
    // It takes a part of the grid's width.
    hasPreview() { this.$nextTick(() => this.measure()); },
  },
  mounted() {
    this.wanted = Number(remembered("size")) || USUAL;
    this.onKey = (event) => this.key(event);
    this.onSize = () => this.measure();
    window.addEventListener("keydown", this.onKey);
    window.addEventListener("resize", this.onSize);
    this.refresh();
  },
  unmounted() {
    window.removeEventListener("keydown", this.onKey);
    window.removeEventListener("resize", this.onSize);
    this.endLasso?.();
  },
  methods: {
    async refresh() {
      // Answers may overtake each other; the last question counts.
      const asked = (this.asked += 1);
      const found = await send(`/data/photos?shown=${encodeURIComponent(this.shown)}`);
      if (asked !== this.asked) return;
      if (found.error) return this.say(found.error, { isError: true });
      const focused = this.cells[this.active]?.[0];
      if (this.isNewest && !["alike", "next"].includes(found.shown)) found.cells.reverse();
      this.cells = Object.freeze(found.cells);
      found.cells = [];
      this.view = found;
      this.shown = found.shown;
      const there = new Set(this.cells.map((cell) => cell[0]));
      this.selected = new Set([...this.selected].filter((id) => there.has(id)));
      const again = focused ? this.cells.findIndex((cell) => cell[0] === focused) : -1;
      // Where the photo has gone to another class, the next one is in its place.
      this.active = again >= 0 ? again : Math.min(this.active, this.cells.length - 1);
      await this.$nextTick();
      this.measure();
    },
    measure() {
      const area = this.$refs.scroll;
      if (!area) return;
      this.width = area.clientWidth - 8;
      this.seen = area.clientHeight;
      this.top = area.scrollTop;
    },
    resized() {
      remember("size", this.wanted);
      this.measure();
    },
    turn() {
      this.isNewest = !this.isNewest;
      this.show(this.shown);
    },
    look() {
      this.isLarge = !this.isLarge;
      if (this.isLarge && this.active < 0) this.active = 0;
      this.$nextTick(() => this.measure());
    },
    // A rectangle drawn on empty ground selects what it touches; with Shift or Ctrl, in addition.
    beginLasso(event) {
      const area = this.$refs.scroll;
      if (event.button || event.pointerType !== "mouse" || event.target.closest(".cell")) return;
      const box = area.getBoundingClientRect();
      if (event.clientX > box.left + area.clientWidth) return; // its scrollbar
      const place = (at) => [at.clientX - box.left, at.clientY - box.top + area.scrollTop];
      const begun = place(event), before = event.shiftKey || event.ctrlKey || event.metaKey ? this.selected : new Set();
      const move = (at) => {
        const [x, y] = place(at);
        if (at.clientY < box.top + 30) area.scrollTop -= 14;
        if (at.clientY > box.bottom - 30) area.scrollTop += 14;
        this.lasso = { left: Math.min(x, begun[0]), right: Math.max(x, begun[0]), top: Math.min(y, begun[1]), bottom: Math.max(y, begun[1]) };
        this.selected = new Set([...before, ...this.within(this.lasso)]);
      };
      this.endLasso = () => {
        window.removeEventListener("pointermove", move);
        window.removeEventListener("pointerup", this.endLasso);
        this.lasso = null;
      };
      this.selected = before;
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", this.endLasso);
    },
    within({ left, top, right, bottom }) {
      const line = this.side + GAP, found = [];
      const first = Math.max(0, Math.floor(top / line)), last = Math.floor(bottom / line);
      for (let row = first; row <= last; row += 1) {
        if (top > row * line + this.side) continue;
        for (let column = 0; column < this.columns; column += 1) {
          const x = column * line, cell = this.cells[row * this.columns + column];
          if (cell && left <= x + this.side && right >= x) found.push(cell[0]);
        }
      }
      return found;
    },
    drag(at, event) {
      const id = this.cells[at][0];
      if (!this.selected.has(id)) this.selected = new Set([id]);
      this.active = this.anchor = at;
      this.isDragged = true;
      event.dataTransfer.setData(DRAGGED, String(this.selected.size));
      event.dataTransfer.effectAllowed = "copy";
    },
    overChip(event, key) {
      if (!this.isDragged || !ACTIONS[key.split(":")[0]]) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      this.target = key;
    },
    async dropOn(event, key) {
      if (!this.isDragged) return;
      event.preventDefault();
      event.stopPropagation();
      this.isDragged = false;
      this.target = "";
      const [kind, ...rest] = key.split(":");
      if (ACTIONS[kind]) await this.act(ACTIONS[kind], rest.join(":"));
    },
    async example() {
      const found = await send("/data/example", { method: "POST" });
      if (found.error) return this.say(found.error, { isError: true });
      await this.refresh();
    },
    async show(key) {
      this.selected = new Set();
      this.active = this.anchor = -1;
      if (this.$refs.scroll) this.$refs.scroll.scrollTop = 0;
      this.shown = key;
      await this.refresh();
      this.$refs.scroll?.focus({ preventScroll: true }); // for the keys that follow
    },
    click(at, event) {
      const id = this.cells[at][0];
      if (event.shiftKey && this.anchor >= 0) {
        this.range(this.anchor, at);
      } else {
        const next = new Set(this.selected);
        if (!next.delete(id)) next.add(id);
        this.selected = next;
        this.anchor = at;
      }
      this.active = at;
      this.$refs.scroll.focus({ preventScroll: true });
    },
    range(from, to) {
      const next = new Set(this.selected);
      const last = Math.min(Math.max(from, to), this.cells.length - 1);
      for (let at = Math.max(0, Math.min(from, to)); at <= last; at += 1) next.add(this.cells[at][0]);
      this.selected = next;
    },
    key(event) {
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || !this.view) return;
      const command = event.ctrlKey || event.metaKey;
      const key = event.key.toLowerCase();
      let done = true;
      if (command && key === "z") this.act(event.shiftKey ? "redo" : "undo");
      else if (command && key === "y") this.act("redo");
      else if (command && key === "a") this.range(0, this.cells.length - 1);
      else if (command || event.altKey) done = false;
      else if (/^[1-9]$/.test(key) && this.classes[key - 1]) this.act("assign", this.classes[key - 1]);
      else if (key === "enter" && this.likely.length && event.target.tagName !== "BUTTON") this.accept();
      else if (key === "x") this.act("leave_out");
      else if (key === "u") this.act("unsort");
      else if (key === "p") this.look();
      else if (key === "?") this.keysShown = !this.keysShown;
      else if (key === "escape") this.selected = new Set();
      else if (key.startsWith("arrow") && event.target.tagName !== "SUMMARY") this.move(key, event.shiftKey);
      else if (key === " " && this.active >= 0 && event.target === this.$refs.scroll) this.click(this.active, event);
      else done = false;
      if (done) event.preventDefault();
    },
    move(key, extend) {
      if (!this.cells.length) return;
      const steps = { arrowleft: -1, arrowright: 1, arrowup: -this.columns, arrowdown: this.columns };
      const before = Math.max(this.active, 0);
      const next = this.active < 0 ? 0 : before + steps[key];
      if (next < 0 || next >= this.cells.length) return;
      if (extend) this.range(before, next);
      this.active = next;
      if (!extend) this.anchor = next;
      const line = this.side + GAP;
      const y = Math.floor(next / this.columns) * line;
      const area = this.$refs.scroll;
      if (y < area.scrollTop) area.scrollTop = y;
      if (y + line > area.scrollTop + this.seen) area.scrollTop = y + line - this.seen;
    },
    async post(values) {
      return send("/data/act", {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values),
      });
    },
    async act(action, name = "", given = null) {
      const isStep = action === "undo" || action === "redo";
      const ids = isStep ? [] : given ?? this.targets;
      if (!isStep && !ids.length) return this.say("Select photos first.");
      if (!isStep && !given) this.selected = new Set();
      const found = await this.post({ action, ids, name });
      if (found.error) this.say(found.error, { isError: true });
      else if (found.said) this.say(`${found.said}.`, { canUndo: action !== "undo" });
      else if (isStep) this.say(action === "undo" ? "There is nothing to undo." : "There is nothing to redo.");
      await this.refresh();
    },
    async accept() {
      const groups = new Map();
      for (const cell of this.likely) groups.set(cell[5], [...(groups.get(cell[5]) ?? []), cell[0]]);
      this.selected = new Set();
      const said = [];
      for (const [name, ids] of groups) {
        const found = await this.post({ action: "assign", ids, name });
        said.push(found.error ?? found.said);
      }
      this.say(`${said.join(", ")}.`, { canUndo: true });
      await this.refresh();
    },
    async addClass() {
      const found = await this.post({ action: "add_class", name: this.newClass });
      if (found.error) return this.say(found.error, { isError: true });
      this.newClass = "";
      this.say(`${found.said}.`, { canUndo: true });
      await this.refresh();
    },
    say(text, { isError = false, canUndo = false } = {}) {
      this.toast = { text, isError, canUndo };
      clearTimeout(this.timer);
      this.timer = setTimeout(() => (this.toast = null), isError ? 12000 : 5000);
    },
    async drop(event) {
      this.over = false;
      if (!this.isDragged) await this.upload(await filesOf(event.dataTransfer));
    },
    async choose(event) {
      const files = [...event.target.files].filter((file) => !file.name.startsWith("."));
      event.target.value = "";
      await this.upload(files);
    },
    async upload(files) {
      const waiting = [...files];
      const faults = [];
      let done = 0;
      const work = async () => {
        for (let file = waiting.shift(); file; file = waiting.shift()) {
          const found = await sendFile(file).catch(() => ({ error: "the studio has ended" }));
          faults.push(...(found.error ? [`${file.name}: ${found.error}`] : found.rejected));
          done += 1;
          this.uploading = `Adding photos: ${done} of ${files.length}`;
          if (done % 40 === 0) this.refresh();
        }
      };
      await Promise.all([work(), work()]);
      this.uploading = "";
      await this.refresh();
      if (faults.length) this.say(`${faults.length} of ${files.length} could not be added. ${faults.slice(0, 3).join(" ")}`, { isError: true });
      else if (files.length) this.say(`${files.length} ${files.length === 1 ? "photo" : "photos"} added.`);
    },
  },
};
