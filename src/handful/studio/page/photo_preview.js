// One photo, large, with what is known of it, and its own buttons.
export default {
  props: ["photo", "classes", "version"],
  emits: ["assign", "leave-out", "close"],
  template: `
  <aside class="preview" aria-label="The photo">
    <button class="wide-less" @click="$emit('close')">Close</button>
    <div class="large"><img :key="photo[0]" :src="'/data/pictures/' + photo[0]" :alt="photo[1]"></div>
    <p class="title">{{ photo[1] }}</p>
    <p v-if="photo[3]">left out</p>
    <p v-else-if="photo[2]">is <b>{{ photo[2] }}</b></p>
    <p v-else class="faint">unsorted</p>
    <template v-if="bars.length">
      <p class="faint small">{{ photo[2] ? "What the other photos say:" : "Probably:" }}</p>
      <div v-for="bar in bars" class="bar-row"><span>{{ bar[0] }}</span><i class="bar"><i :style="{width: 100 * bar[1] + '%'}"></i></i><span class="number">{{ bar[2] }}</span></div>
    </template>
    <p class="row" role="group" aria-label="What this photo is">
      <button v-for="(name, at) in classes" :key="name" :aria-pressed="String(photo[2] === name)" @click="$emit('assign', name)"><kbd v-if="at < 9">{{ at + 1 }}</kbd>{{ name }}</button>
      <button @click="$emit('leave-out')"><kbd>X</kbd>Leave out</button>
    </p>
  </aside>`,
  data() { return { bars: [] }; },
  watch: {
    photo: { handler() { this.ask(); }, immediate: true },
    // Each label may teach the classifier anew: asked once, when keys have come to rest.
    version() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask(), 400);
    },
  },
  beforeUnmount() { clearTimeout(this.timer); },
  methods: {
    async ask() {
      const id = this.photo[0];
      const found = await fetch(`/data/photos/${id}`).then((answer) => answer.json()).catch(() => ({}));
      if (id === this.photo[0]) this.bars = found.bars ?? [];
    },
  },
};
