"use strict";
// The audio, on the recording's own clock, and its controls.

class Player {
  /** `source` is {url, why, offset_s}: a copy of a part begins at offset_s. `end_s` is what the recording's end is
   * thought to be. `onTime` hears of every new time, `onLength` of start and end. */
  constructor(source, end_s, onTime, onLength) {
    this.audio = byId("audio");
    this.offset_s = source.offset_s;
    this.end_s = end_s;
    this.onTime = onTime;
    this.onLength = onLength;
    this.waiting_s = null; // where to go as soon as the audio can
    this.#measure();
    if (source.why) this.#say(source.why);
    byId("play").disabled = !source.url;
    if (source.url) {
      this.audio.src = source.url;
      this.#listen();
    }
    byId("seek").oninput = () => this.seek(Number(byId("seek").value));
  }

  get time_s() {
    return this.waiting_s ?? this.audio.currentTime + this.offset_s;
  }

  /** Go to a time, and play on where it plays; with `play` in any case. */
  seek(time_s, play = false) {
    const bounded = Math.min(Math.max(time_s, this.offset_s), this.end_s);
    if (this.audio.readyState > 0) this.audio.currentTime = bounded - this.offset_s;
    else this.waiting_s = bounded;
    if (play && this.audio.src) this.audio.play().catch(() => {}); // the page says why it cannot: see error
    this.#tell();
  }

  toggle() {
    if (!this.audio.src) return;
    if (this.audio.paused) this.audio.play().catch(() => {});
    else this.audio.pause();
  }

  #measure() {
    if (Number.isFinite(this.audio.duration)) this.end_s = this.offset_s + this.audio.duration;
    byId("seek").min = this.offset_s;
    byId("seek").max = this.end_s;
    byId("length").textContent = clock(this.end_s);
    this.onLength(this.offset_s, this.end_s);
  }

  #say(why) {
    byId("no-audio").textContent = why;
    byId("no-audio").hidden = false;
  }

  #listen() {
    const { audio } = this;
    const button = byId("play");
    button.onclick = () => this.toggle();
    byId("speed").onchange = () => (audio.playbackRate = Number(byId("speed").value));
    audio.onloadedmetadata = () => {
      this.#measure();
      if (this.waiting_s !== null) audio.currentTime = this.waiting_s - this.offset_s;
      this.waiting_s = null;
    };
    audio.onerror = () => {
      const reasons = [
        "",
        "it was stopped",
        "it could not be loaded",
        "it is damaged",
        "it is not there, or in a format that this browser does not play",
      ];
      button.disabled = true;
      this.#say(
        `The audio cannot be played: ${reasons[audio.error?.code] ?? ""}. With --copy-audio opus the export has copies for browsers.`,
      );
    };
    const follow = () => {
      this.#tell();
      if (!audio.paused) requestAnimationFrame(follow);
    };
    audio.onplay = audio.onpause = () => {
      button.classList.toggle("playing", !audio.paused);
      button.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
      follow();
    };
    audio.onseeked = audio.ontimeupdate = () => this.#tell();
  }

  #tell() {
    const time_s = this.time_s;
    byId("time").textContent = clock(time_s);
    byId("seek").value = time_s;
    byId("seek").setAttribute("aria-valuetext", clock(time_s));
    this.onTime(time_s);
  }
}
