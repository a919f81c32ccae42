// Photos to try the classifier on: dropped or chosen, answered one after another.
export default {
  template: `
  <div @dragover.prevent="over = true" @dragleave.self="over = false" @drop.prevent="drop">
    <div class="empty small" :class="{over}">
      <p><b>Drop photos here</b> to see what the classifier says.</p>
      <p class="row center"><button class="primary" @click="$refs.files.click()">Choose photos</button></p>
      <input ref="files" type="file" multiple class="unseen" tabindex="-1" aria-hidden="true" @change="choose">
      <p class="faint">They are not kept.</p>
    </div>
    <p class="unseen" role="status">{{ told }}</p>
    <ul class="answers">
      <li v-for="one in answers" :key="one.key" class="card answer">
        <img :src="one.url" :alt="one.name" @error="one.url = ''" v-show="one.url">
        <div>
          <p v-if="one.error" class="wrong-text"><b>{{ one.error }}</b></p>
          <p v-else-if="!one.answer" class="faint">Looking ...</p>
          <template v-else>
            <p class="headline" :class="{unsure: !one.answer.is_sure}">{{ one.answer.headline }}</p>
            <p v-if="one.answer.unusual" class="wrong-text">Unusual: {{ one.answer.unusual }}.</p>
            <div v-for="bar in one.answer.bars" class="bar-row"><span>{{ bar[0] }}</span><i class="bar"><i :style="{width: 100 * bar[1] + '%'}"></i></i><span class="number">{{ bar[2] }}</span></div>
          </template>
          <p class="faint name">{{ one.name }}</p>
        </div>
      </li>
    </ul>
  </div>`,
  data() { return { over: false, answers: [], told: "", next: 0 }; },
  methods: {
    async drop(event) {
      this.over = false;
      await this.ask([...event.dataTransfer.files]);
    },
    async choose(event) {
      const files = [...event.target.files];
      event.target.value = "";
      await this.ask(files);
    },
    async ask(files) {
      const fresh = files.map((file) => ({ key: this.next++, file, name: file.name, url: URL.createObjectURL(file), answer: null, error: "" }));
      this.answers = [...fresh, ...this.answers];
      for (const { key, file } of fresh) {
        const form = new FormData();
        form.append("file", file, file.name);
        const one = this.answers.find((found) => found.key === key);
        try {
          const response = await fetch("/data/classify", { method: "POST", body: form });
          const found = await response.json();
          if (found.error) one.error = found.error;
          else one.answer = found;
        } catch {
          one.error = "got no answer: the studio has ended";
        }
      }
      this.told = `${files.length} answered.`;
    },
  },
};
