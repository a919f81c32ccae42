// A folder that is classified: chosen here or lying on the computer of the studio; a table of answers.
import { post, send } from "asking";

const MOST_FILES = 16, MOST_BYTES = 30e6, LARGEST = 38e6;
const LOOK_MS = 700, TOAST_MS = 5000;

export default {
  template: `
  <section class="folder" aria-label="A folder">
    <h2>A whole folder</h2>
    <input ref="folder" type="file" webkitdirectory class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
    <p v-if="trouble" class="note wrong-text" role="alert">{{ trouble }}</p>
    <p v-if="!view" class="faint" role="status">Loading ...</p>
    <div v-else-if="sending || view.busy" class="card">
      <p role="status">{{ sending || view.busy }}</p>
      <i v-if="total" class="bar"><i :style="{width: (100 * sent) / total + '%'}"></i></i>
      <p v-if="sending" class="row"><button @click="isStopped = true">Cancel</button></p>
    </div>
    <div v-else-if="!view.chips.length" class="card">
      <p>See what all of its photos are, correct answers, save them as a table, or copy the photos into a folder for each class.</p>
      <p class="row">
        <button class="primary" @click="$refs.folder.click()">Choose a folder</button>
        <button v-for="(name, place) in view.sources" @click="begin(place)">Classify {{ name }}</button>
      </p>
    </div>
    <div v-else>
      <p>{{ view.title }}</p>
      <div class="row chips" role="group" aria-label="Which photos are shown">
        <button v-for="chip in view.chips" :key="chip.key" class="chip" :aria-pressed="String(view.shown === chip.key)"
          @click="look(chip.key)">{{ chip.name }} <b>{{ chip.count.toLocaleString("en") }}</b></button>
      </div>
      <div class="row">
        <a class="button" href="/data/folder/answers.csv" download>Save as a table (CSV)</a>
        <button @click="sort" :disabled="isBusy">Copy into class folders</button>
        <button @click="clear">Another folder</button>
      </div>
      <ul v-if="view.shown === 'unreadable'" class="card">
        <li v-for="bad in view.unreadable"><b>{{ bad[0] }}</b> {{ bad[1] }}</li>
      </ul>
      <p v-else-if="!view.rows.length" class="faint">No photo is here.</p>
      <table v-else>
        <thead><tr><th scope="col">Photo</th><th scope="col">Answer</th><th scope="col">How probable</th><th scope="col">Wrong?</th></tr></thead>
        <tbody>
          <tr v-for="one in view.rows" :key="one.row">
            <td><img :src="'/data/folder/thumbnails/' + one.row + '?v=' + view.version" alt="" loading="lazy"><span class="name">{{ one.name }}</span></td>
            <td><span v-if="one.said && one.said !== one.label"><b>{{ one.said }}</b> <span class="faint">you say; not {{ one.label }}</span></span>
              <span v-else><span v-if="one.note" class="wrong-text">{{ one.note }} </span><b>{{ one.label }}</b><span v-if="one.said" class="faint"> labeled so</span></span></td>
            <td><span class="share"><i class="bar"><i :style="{width: 100 * one.share + '%'}"></i></i><span class="number">{{ one.text }}</span></span></td>
            <td><select :aria-label="'What ' + one.name + ' is'" @change="correct(one, $event)">
              <option value="">It is ...</option><option v-for="name in view.classes" :value="name">{{ name }}</option></select></td>
          </tr>
        </tbody>
      </table>
      <p v-if="view.total > view.page" class="row pages">
        <button :disabled="!view.first" @click="look(view.shown, view.first - view.page)">Back</button>
        <span>{{ view.first + 1 }} to {{ Math.min(view.first + view.page, view.total) }} of {{ view.total.toLocaleString("en") }}</span>
        <button :disabled="view.first + view.page >= view.total" @click="look(view.shown, view.first + view.page)">Next</button>
      </p>
    </div>
    <div class="toast" role="status"><span v-if="said">{{ said }}.<button v-if="canUndo" @click="undo">Undo</button></span></div>
  </section>`,
  data() {
    return {
      view: null, sending: "", sent: 0, total: 0, isStopped: false, isBusy: false, trouble: "", said: "", canUndo: false,
    };
  },
  async mounted() {
    await this.look();
    this.timer = setInterval(() => this.view && this.view.busy && this.look(), LOOK_MS);
  },
  beforeUnmount() { clearInterval(this.timer); },
  methods: {
    async look(shown = this.view?.shown || "all", first = shown === this.view?.shown ? this.view.first || 0 : 0) {
      const found = await send(`/data/folder?shown=${encodeURIComponent(shown)}&first=${first}`);
      if (found.error) this.trouble = found.error;
      else {
        this.view = found;
        this.trouble = found.trouble;
      }
    },
    async choose(event) {
      const all = [...event.target.files].filter((file) => !file.name.startsWith("."));
      event.target.value = "";
      const files = all.filter((file) => file.size <= LARGEST);
      if (!files.length) return;
      Object.assign(this, { isStopped: false, trouble: "", sent: 0, total: files.length });
      await post("/data/folder/clear");
      for (let place = 0; place < files.length && !this.isStopped && !this.trouble;) {
        const form = new FormData();
        for (let bytes = 0, count = 0; place < files.length && count < MOST_FILES; place += 1, count += 1) {
          bytes += files[place].size;
          if (count && bytes > MOST_BYTES) break;
          form.append("file", files[place], files[place].webkitRelativePath || files[place].name);
        }
        this.sending = `Sending ${place.toLocaleString("en")} of ${files.length.toLocaleString("en")} ...`;
        this.trouble = (await send("/data/folder/photos", { method: "POST", body: form })).error || "";
        this.sent = place;
      }
      const isWhole = !this.isStopped && !this.trouble;
      Object.assign(this, { sending: "", total: 0 });
      if (isWhole) await this.begin(null);
      else await post("/data/folder/clear");
      if (all.length > files.length) this.trouble = `${all.length - files.length} files of more than 38 MB were left out.`;
    },
    async begin(source) {
      const { error } = await post("/data/folder/begin", { source });
      await this.look("all", 0);
      if (error) this.trouble = error;
    },
    async correct(one, event) {
      const name = event.target.value;
      event.target.value = "";
      if (name) await this.do(() => post("/data/folder/correct", { row: one.row, name }), true);
    },
    async sort() { await this.do(() => post("/data/folder/sort")); },
    async clear() {
      await post("/data/folder/clear");
      await this.look("all", 0);
    },
    async undo() {
      await this.do(() => post("/data/act", { action: "undo" }));
    },
    async do(work, canUndo = false) {
      this.isBusy = true;
      const { said, error } = await work();
      this.isBusy = false;
      clearTimeout(this.toasting);
      Object.assign(this, { said: (error || said || "").replace(/\.$/, ""), canUndo: canUndo && !error });
      this.toasting = setTimeout(() => { this.said = ""; }, TOAST_MS);
      await this.look();
    },
  },
};
