"use strict";
// The index's files. Pages from disk may not fetch files, but may load scripts: each file of data/ calls `receive`.

const shards = (() => {
  const BUDGET_BYTES = 64 * 2 ** 20; // of texts and terms in memory, as JavaScript holds them
  const NAME = /^data\/(about|(rows|texts|words)-\d{1,7})\.js(\?v=[\w:+.-]*)?$/;
  const waiting = new Map();
  const held = new Map(); // name -> {promise, bytes}, the least recently used first
  let heldBytes = 0;
  let version = String(Date.now());

  const policy = globalThis.trustedTypes?.createPolicy("shards", {
    createScriptURL: (url) => {
      if (!NAME.test(url)) throw new TypeError(`not a file of the index: ${url}`);
      return url;
    },
  });

  const fetchFile = (kind, number) =>
    new Promise((resolve, reject) => {
      const name = kind === "about" ? "about" : `${kind}-${number}`;
      const url = `data/${name}.js?v=${version}`;
      const script = document.createElement("script");
      script.src = policy ? policy.createScriptURL(url) : url;
      const settle = (result) => {
        waiting.delete(`${kind}-${number}`);
        script.remove();
        result();
      };
      waiting.set(`${kind}-${number}`, (value, madeAt) =>
        settle(() => {
          if (kind === "about" || madeAt === version) resolve(value);
          else {
            const remedy = "reload the page when that is complete, or export again";
            reject(new Error(`data/${name}.js is of another export: ${remedy}`));
          }
        }),
      );
      script.onerror = () => settle(() => reject(new Error(`data/${name}.js is missing`)));
      document.head.append(script);
    });

  const sizeOf = (value) =>
    typeof value === "string" ? 2 * value.length : value.reduce((sum, text) => sum + 2 * text.length + 16, 0);

  /** A file's value; texts and terms are kept within the budget. */
  const load = (kind, number = 0) => {
    if (kind === "about" || kind === "rows") return fetchFile(kind, number);
    const name = `${kind}-${number}`;
    let entry = held.get(name);
    held.delete(name);
    if (!entry) {
      entry = { bytes: 0, promise: fetchFile(kind, number) };
      const loaded = entry;
      loaded.promise.then(
        (value) => {
          loaded.bytes = sizeOf(value);
          heldBytes += loaded.bytes;
          for (const [old, { bytes }] of held) {
            if (heldBytes <= BUDGET_BYTES || old === name) break;
            if (!bytes) continue; // it is loading
            held.delete(old);
            heldBytes -= bytes;
          }
        },
        () => held.delete(name),
      );
    }
    held.set(name, entry);
    return entry.promise;
  };

  const loadAbout = async () => {
    const about = await load("about");
    version = about.made_at; // later exports to the same place have other files of the same names
    return about;
  };

  return { load, loadAbout, deliver: (name, ...given) => waiting.get(name)?.(...given) };
})();

/** What the files of data/ call. */
const receive = (kind, number, value, madeAt) => shards.deliver(`${kind}-${number}`, value, madeAt);
