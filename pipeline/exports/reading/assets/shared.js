"use strict";
// What both pages share: elements, times and names. Texts reach the page as text nodes alone.

/** An element. `properties` are set on it; `children` are elements, or strings, which become text. */
const make = (name, properties = {}, ...children) => {
  const element = document.createElement(name);
  const { data = {}, ...others } = properties;
  for (const [key, value] of Object.entries(others)) {
    if (key.startsWith("aria-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const byId = (id) => document.getElementById(id);

/** Seconds as m:ss or h:mm:ss; with tenths where `exact`. */
const clock = (seconds, exact = false) => {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const units = Math.round(seconds * (exact ? 10 : 1));
  const whole = exact ? Math.floor(units / 10) : units;
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const start = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${start}:${two(whole % 60)}${exact ? `.${units % 10}` : ""}`;
};

const languageNames = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** A language code, or "" where it is none: codes come from tables. */
const languageTag = (code) => (/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(code ?? "") ? code : "");

const languageName = (code) => (languageTag(code) ? languageNames.of(code) : String(code));

// Of docs/tables.md.
const FLAGS = {
  no_text: "A second or more of speech, but no text.",
  little_text: "Less text than so much speech should have.",
  much_text: "More text than anybody says in that time.",
  repetition: "The text repeats itself.",
  length_limit: "The text reached its limit: its end may be missing.",
  other_script: "Letters of a script that none of the possible languages uses.",
  low_confidence: "The model was unsure of this text.",
  no_speech: "The model itself found no speech: the text was dropped.",
  language_disputed: "The methods that find the language disagree.",
  unsupported_words: "Words that the aligner does not find in the audio.",
  not_aligned: "The words have no times.",
  no_speakers: "The speakers could not be told apart.",
  unexpected_language: "The text is in a language that was not expected.",
  timestamps_corrected: "The file's timestamps are wrong and were ignored: a player's times may differ.",
  long_gaps: "The file has more silence than audio.",
  mixed_languages: "A second language has a tenth of the speech or more.",
};

const flagChip = (flag) => {
  const known = Object.hasOwn(FLAGS, flag) ? FLAGS[flag] : "";
  return make("span", { className: "chip flag", title: known }, flag.replaceAll("_", " "));
};

const outcomeChip = (outcome) => {
  const kind = ["ok", "partial", "failed"].find((one) => outcome === one || outcome.startsWith(`${one}:`));
  return make("span", { className: `chip ${kind ?? ""}` }, outcome.replaceAll("_", " "));
};

/** The fields of the address behind #: {t: "12.3"}. */
const hashFields = () => new URLSearchParams(location.hash.slice(1));

/** Give the user a file. */
const download = (name, text, type) => {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};
