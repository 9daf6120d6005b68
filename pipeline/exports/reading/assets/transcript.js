"use strict";
// The text of a recording by segments: words that can be heard, marks for what is doubtful, and a field to correct it.

class Transcript {
  static VOICES = 8; // colours for speakers and channels

  /** `actions` are hear(time_s), correct(segment, text or null) and changed(). `wanted` are terms to mark. */
  constructor(recording, lines, wanted, actions) {
    this.recording = recording;
    this.lines = lines;
    this.wanted = wanted;
    this.actions = actions;
    this.doubt = 0; // words with a lower score are marked; see docs/words.md
    this.voices = new Map();
    this.words = []; // {start_s, end_s, element}, by segment; of a segment that has not been near the screen undefined
    // Hours of speech have more words than a browser lays out at once.
    this.observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) if (entry.isIntersecting) this.#layOut(Number(entry.target.dataset.at));
      },
      { rootMargin: "1000px" },
    );
    addEventListener("beforeprint", () => this.elements.forEach((_, at) => this.#layOut(at)));
    this.current = { segment: -1, word: null };
    this.elements = recording.segments.map((segment, at) => this.#segment(segment, at));
    byId("transcript").append(...this.elements);
    for (const element of this.elements) this.observer.observe(element);
    if (!this.elements.length) byId("transcript").append(make("p", { className: "soft" }, "There is no text."));
  }

  /** The number of the segment that is said at a time, or was last; -1 before the first. */
  at(time_s) {
    const { segments } = this.recording;
    let found = -1;
    for (let at = 0; at < segments.length && segments[at].start_s <= time_s; at += 1) {
      if (found < 0 || segments[at].end_s > time_s || segments[found].end_s <= time_s) found = at;
    }
    return found;
  }

  /** Mark the segment and the word that are said at a time; returns the segment's element if it is another one. */
  follow(time_s) {
    const at = this.at(time_s);
    if (at >= 0) this.#layOut(at);
    const word = (this.words[at] ?? []).findLast((one) => one.start_s <= time_s);
    const spoken = word && time_s < word.end_s + 0.25 ? word.element : null;
    if (spoken !== this.current.word) {
      this.current.word?.classList.remove("spoken");
      spoken?.classList.add("spoken");
    }
    this.current.word = spoken;
    if (at === this.current.segment) return null;
    this.elements[this.current.segment]?.classList.remove("current");
    this.elements[this.current.segment]?.removeAttribute("aria-current");
    this.current.segment = at;
    this.elements[at]?.classList.add("current");
    this.elements[at]?.setAttribute("aria-current", "true");
    return this.elements[at] ?? null;
  }

  /** Mark the words whose score is below a limit; returns whether words have scores. */
  mark(limit) {
    this.doubt = limit;
    for (const word of byId("transcript").querySelectorAll("[data-score]")) {
      word.classList.toggle("doubtful", Number(word.dataset.score) < limit);
    }
    return this.recording.segments.some((segment) => segment.words?.some(([, , , score]) => score !== null));
  }

  /** Where there is something to check: [time_s, element], in order. */
  places() {
    return this.recording.segments.flatMap((segment, at) => {
      const isMarked = segment.flags?.length || segment.failure_code || this.finds(at);
      const doubtful = segment.words?.find(([, , , score]) => score !== null && score < this.doubt);
      if (!isMarked && !doubtful) return [];
      return [[isMarked ? segment.start_s : (doubtful[1] ?? segment.start_s), this.elements[at]]];
    });
  }

  /** Whether a segment has what is looked for. */
  finds(at) {
    return this.wanted.length > 0 && search.places(this.recording.segments[at].text ?? "", this.wanted).length > 0;
  }

  edit(at) {
    const element = this.elements[at];
    if (!element || element.querySelector("textarea")) return;
    const segment = this.recording.segments[at];
    const area = make("textarea", {
      value: this.#line(segment)?.corrected_text ?? segment.text ?? "",
      dir: "auto",
      lang: languageTag(segment.language),
      rows: 3,
      "aria-label": `Text from ${clock(segment.start_s)} to ${clock(segment.end_s)}`,
    });
    const done = (text) => {
      if (text !== undefined) this.#correct(segment, text);
      this.#redraw(at);
      this.elements[at].querySelector(".edit").focus();
    };
    const button = (name, text, className = "") =>
      make("button", { type: "button", className, onclick: () => done(text()) }, name);
    const form = make(
      "div",
      { className: "editing" },
      area,
      make(
        "div",
        { className: "buttons" },
        button("Keep", () => area.value, "main"),
        button("Mark as right", () => segment.text ?? ""),
        button("Undo", () => null),
        button("Cancel", () => undefined),
      ),
    );
    area.onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) done(area.value);
      else if (event.key === "Escape") done(undefined);
      else return;
      event.preventDefault(); // or the key would press the button that has the focus now
    };
    element.querySelector(".text").replaceWith(form);
    element.querySelector(".original")?.remove();
    area.focus();
  }

  #line(segment) {
    return this.lines.get(`${segment.channel}:${segment.segment_index}`);
  }

  /** Show what other pages have kept since. */
  refresh() {
    const changed = new Set(corrections.refresh(this.recording, this.lines));
    this.recording.segments.forEach((segment, at) => {
      const isOther = changed.has(`${segment.channel}:${segment.segment_index}`);
      if (isOther && !this.elements[at].querySelector("textarea")) this.#redraw(at);
    });
  }

  #correct(segment, text) {
    const key = `${segment.channel}:${segment.segment_index}`;
    this.refresh(); // or what is kept below would undo what another page has kept
    if (text === null) this.lines.delete(key);
    else this.lines.set(key, corrections.line(this.recording, segment, text));
    this.actions.changed();
  }

  #redraw(at) {
    const fresh = this.#segment(this.recording.segments[at], at);
    fresh.classList.toggle("current", at === this.current.segment);
    this.observer.unobserve(this.elements[at]);
    this.elements[at].replaceWith(fresh);
    this.elements[at] = fresh;
    this.words[at] = undefined;
    this.observer.observe(fresh);
  }

  #segment(segment, at) {
    const line = this.#line(segment);
    const label = segment.speaker ?? (segment.channel === null ? null : `Channel ${segment.channel}`);
    const main = this.recording.language;
    const element = make(
      "article",
      { className: "segment", data: { at } },
      make(
        "div",
        { className: "head" },
        make(
          "a",
          {
            className: "time",
            href: `#t=${segment.start_s.toFixed(2)}`,
            title: "Hear this; its address is a link to this time",
          },
          clock(segment.start_s),
        ),
        label && make("span", { className: "voice", dir: "auto", data: { voice: this.#voice(label) } }, label),
        segment.language && segment.language !== main
          ? make("span", { className: "chip" }, languageName(segment.language))
          : null,
        ...(segment.flags ?? []).map(flagChip),
        segment.failure_code &&
          make(
            "span",
            { className: "chip failed", title: segment.failure_detail ?? "" },
            segment.failure_code.replaceAll("_", " "),
          ),
        segment.sample && !line && make("span", { className: "chip review" }, "to review"),
        line &&
          make("span", { className: "chip corrected" }, line.corrected_text === segment.text ? "right" : "corrected"),
        make(
          "button",
          {
            className: "edit",
            type: "button",
            "aria-label": `Edit the text at ${clock(segment.start_s)}`,
            onclick: () => this.edit(at),
          },
          "Edit",
        ),
      ),
      this.#text(segment, line),
      line && line.corrected_text !== segment.text
        ? make(
            "p",
            { className: "original soft", dir: "auto", lang: languageTag(segment.language) },
            make("del", {}, segment.text || "no text"),
          )
        : null,
      this.#tried(segment),
    );
    element.classList.toggle("flagged", Boolean(segment.flags?.length || segment.failure_code));
    element.onclick = (event) => {
      if (event.target.closest("a, button, textarea, details, .editing") || getSelection().toString()) return;
      this.actions.hear(Number(event.target.closest("[data-start]")?.dataset.start ?? segment.start_s));
    };
    return element;
  }

  #voice(label) {
    if (!this.voices.has(label)) this.voices.set(label, this.voices.size % Transcript.VOICES);
    return this.voices.get(label);
  }

  #text(segment, line) {
    const text = line ? line.corrected_text : segment.text;
    const paragraph = make("p", { className: "text", dir: "auto", lang: languageTag(segment.language) });
    const missing = segment.failure_code ? "not transcribed" : "nothing said";
    paragraph.append(text || make("span", { className: "soft" }, missing));
    return paragraph;
  }

  /** Make words of a segment's text, once. */
  #layOut(at) {
    const paragraph = this.elements[at].querySelector(".text");
    if (this.words[at] || !paragraph) return;
    this.words[at] = [];
    const segment = this.recording.segments[at];
    const line = this.#line(segment);
    const text = line ? line.corrected_text : segment.text;
    if (!text) return;
    const places = this.wanted.length ? search.places(text, this.wanted) : [];
    paragraph.replaceChildren();
    const words = line && line.corrected_text !== segment.text ? [] : (segment.words ?? []);
    let place = 0;
    let speaker = words[0]?.[4] ?? segment.speaker;
    for (const [word, start_s, end_s, score, own] of words) {
      const begin = text.indexOf(word, place);
      if (begin < 0) continue;
      paragraph.append(...this.#marked(text, place, begin, places));
      place = begin + word.length;
      if (own && own !== speaker) {
        paragraph.append(
          make("span", { className: "voice", dir: "auto", data: { voice: this.#voice(own) } }, own),
          " ",
        );
        speaker = own;
      }
      const element = make("span", { className: "word" }, ...this.#marked(text, begin, place, places));
      if (start_s !== null) {
        element.dataset.start = start_s;
        this.words[at].push({ start_s, end_s, element });
      }
      if (score !== null) {
        element.dataset.score = score;
        element.title = `score ${score.toFixed(2)}`;
        element.classList.toggle("doubtful", score < this.doubt);
      }
      paragraph.append(element);
    }
    paragraph.append(...this.#marked(text, place, text.length, places));
  }

  /** A text from `begin` to `end`, with marks where it lies in `places`, which may reach beyond it. */
  #marked(text, begin, end, places) {
    const pieces = [];
    let at = begin;
    for (const [from, to] of places) {
      if (to <= at || from >= end) continue;
      const start = Math.max(from, at);
      const stop = Math.min(to, end);
      pieces.push(text.slice(at, start), make("mark", {}, text.slice(start, stop)));
      at = stop;
    }
    return [...pieces, text.slice(at, end)].filter(Boolean);
  }

  #tried(segment) {
    const attempts = segment.attempts ?? [];
    if (attempts.length < 2 && !segment.retried_for?.length) return null;
    const because = (segment.retried_for ?? []).map((flag) => flag.replaceAll("_", " ")).join(", ");
    return make(
      "details",
      { className: "tried" },
      make("summary", {}, `${attempts.length} attempts, kept: ${segment.kept_attempt ?? "–"}`),
      make("p", {}, because ? `Tried again because of: ${because}.` : "Tried again."),
      make(
        "ol",
        {},
        ...attempts.map((one) => make("li", { className: one === segment.kept_attempt ? "kept" : "" }, one)),
      ),
    );
  }
}
