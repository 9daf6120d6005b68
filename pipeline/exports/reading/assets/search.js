"use strict";
// Terms as pipeline/exports/reading/search_terms.py makes them, and the rows that have them.

const search = (() => {
  const ACCENTS = /[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670]/gu;
  const SCRIPTS = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"];
  const UNSPACED = `[${SCRIPTS.map((name) => `\\p{Script=${name}}`).join("")}ー\\u3099\\u309a]`;
  const RUN = new RegExp(`(${UNSPACED}+)|(?:(?!${UNSPACED})[\\p{L}\\p{M}\\p{N}])+`, "gu");
  const LETTER = /[\p{L}\p{M}\p{N}]/u;
  const MAX_TERM_CHARS = 40;
  const DIGITS = new Uint8Array(128);
  [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].forEach((digit, value) => {
    DIGITS[digit.charCodeAt(0)] = value;
  });
  const PREFIX_CHARS = 3; // shorter words are looked for as they are
  const BUDGET_BYTES = 8 * 2 ** 20; // of terms that one word of a query may load

  const fold = (text) => text.normalize("NFKD").toLowerCase().replace(ACCENTS, "");

  /** The terms of a text, or, with `wanted`, of a query: {term, prefix}. */
  const terms = (text, wanted = false) => {
    const found = new Map();
    for (const [run, unspaced] of fold(text).matchAll(RUN)) {
      const chars = [...run];
      if (unspaced) {
        const count = wanted && chars.length > 1 ? chars.length - 1 : chars.length;
        for (let at = 0; at < count; at += 1) {
          const term = chars.slice(at, at + 2).join("");
          found.set(term, { term, prefix: chars.length === 1 });
        }
      } else {
        const term = chars.slice(0, MAX_TERM_CHARS).join("");
        found.set(term, { term, prefix: chars.length >= PREFIX_CHARS });
      }
    }
    return [...found.values()];
  };

  /** Set the bit of each encoded row. */
  const decode = (encoded, rows) => {
    let row = -1;
    let gap = 0;
    let shift = 0;
    for (let at = 0; at < encoded.length; at += 1) {
      const digit = DIGITS[encoded.charCodeAt(at)];
      gap += (digit & 31) * 2 ** shift;
      if (digit & 32) shift += 5;
      else {
        row += gap + 1;
        rows[row] = 1;
        gap = shift = 0;
      }
    }
  };

  /** The number of the file that would have a term. */
  const fileOf = (files, term) => {
    let low = 0;
    let high = files.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (files[middle][0] <= term) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  };

  const rowsOf = async ({ term, prefix }, about, rows) => {
    let bytes = 0;
    for (let number = fileOf(about.words, term); number < about.words.length; number += 1) {
      const [first, size] = about.words[number];
      if (bytes && !(prefix && first.startsWith(term))) break;
      if (bytes && bytes + size > BUDGET_BYTES) return false;
      bytes += size;
      for (const line of (await shards.load("words", number)).split("\n")) {
        const space = line.indexOf(" ");
        const own = line.slice(0, space);
        if (own === term || (prefix && own.startsWith(term))) decode(line.slice(space + 1), rows);
      }
    }
    return true;
  };

  /** The rows that have all words of a query, as bits by row; `whole` is false where a word begins too many terms. */
  const find = async (query, about) => {
    let found = null;
    let whole = true;
    for (const wanted of terms(query, true)) {
      const rows = new Uint8Array(about.rows);
      whole = (await rowsOf(wanted, about, rows)) && whole;
      if (found) found.forEach((bit, row) => (found[row] = bit & rows[row]));
      else found = rows;
    }
    return { rows: found, whole };
  };

  /** Where a text has what is wanted: [start, end) in order, apart from each other. */
  const places = (text, wanted) => {
    const at = []; // of each code unit of `plain`, where it comes from
    let plain = "";
    let place = 0;
    for (const char of text) {
      const own = fold(char);
      for (let unit = 0; unit < own.length; unit += 1) at.push(place);
      plain += own;
      place += char.length;
    }
    at.push(text.length);
    const found = [];
    for (const { term, prefix } of wanted) {
      const spaced = !new RegExp(UNSPACED, "u").test(term);
      for (let from = plain.indexOf(term); from >= 0; from = plain.indexOf(term, from + term.length)) {
        const end = from + term.length;
        const begins = !spaced || from === 0 || !LETTER.test(plain[from - 1]);
        const ends = !spaced || prefix || end === plain.length || !LETTER.test(plain[end]);
        if (begins && ends) found.push([at[from], Math.max(at[end], at[end - 1] + 1)]);
      }
    }
    found.sort((a, b) => a[0] - b[0]);
    const apart = [];
    for (const [from, end] of found) {
      const last = apart.at(-1);
      if (last && from <= last[1]) last[1] = Math.max(last[1], end);
      else apart.push([from, end]);
    }
    return apart;
  };

  return { terms, find, places };
})();
