// How prices, amounts and times are written. A time zone is an object, so that a chart can change it at once.

/** @typedef {{year: number, month: number, day: number, weekday: number, hour: number, minute: number, second: number}} Clock */

const MINUTE = 60_000;
const DAY = 86_400_000;
const WEEK = 7 * DAY;
const MINUS = "−";
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** @param {number} value @param {number} [width] */
const pad = (value, width = 2) => String(value).padStart(width, "0");

/**
 * The number of decimals that a price on this grid needs: 2 for 0.01, 2 for 0.25, 0 for 5, 8 for 0.00000001.
 * @param {number} mintick
 */
export function digitsOf(mintick) {
  for (let digits = 0; digits < 12; digits++) {
    const scaled = mintick * 10 ** digits;
    if (scaled > 0.5 && Math.abs(scaled - Math.round(scaled)) < 1e-6) return digits;
  }
  return mintick > 0 ? 12 : 2;
}

/** @type {Map<number, Intl.NumberFormat>} */
const formats = new Map();

/**
 * `64,253.10`; na is a dash.
 * @param {number} value
 * @param {number} digits
 */
export function price(value, digits) {
  if (!Number.isFinite(value)) return "—";
  if (Math.abs(value) >= 1e15) return value.toExponential(2).replaceAll("-", MINUS);
  let format = formats.get(digits);
  if (format === undefined) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format.format(value).replace("-", MINUS);
}

/**
 * The same with its sign: `+1.20`, `−0.30`, `0.00`.
 * @param {number} value
 * @param {number} digits
 */
export function signed(value, digits) {
  return value > 0 ? `+${price(value, digits)}` : price(value, digits);
}

/**
 * What changed from one price to another, and the share: `+1.20 (+0.31%)`; empty when there was none.
 * @param {number} from
 * @param {number} to
 * @param {number} digits
 */
export function change(from, to, digits) {
  return Number.isFinite(to - from) && from !== 0 ? `${signed(to - from, digits)} (${percent(from, to)})` : "";
}

/**
 * @param {number} from
 * @param {number} to
 */
export function percent(from, to) {
  return Number.isFinite(to / from) && from !== 0 ? `${signed((100 * (to - from)) / Math.abs(from), 2)}%` : "";
}

/**
 * `950`, `1.23K`, `45.60M`: four digits are enough to compare by eye.
 * @param {number} value
 */
export function amount(value) {
  if (!(Math.abs(value) < 1e15)) return price(value, 2);
  for (const [unit, letter] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]])) {
    if (Math.abs(value) >= unit) return `${price(value / unit, 2)}${letter}`;
  }
  return price(value, Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 1 ? 2 : 4);
}

/** What rounding to the contract may leave, in contracts, of a size that is of whole ones. */
const NOISE = 1e-6;

/**
 * So many units, without the noise of floats: `0.10608` where the smallest contract is 0.00001. A size that is not of whole
 * contracts has six decimals, so that it does not look like one that is.
 * @param {number} value
 * @param {number} mincontract
 */
export function size(value, mincontract) {
  if (!Number.isFinite(value)) return "—";
  const contracts = value / mincontract;
  const digits = digitsOf(mincontract);
  const whole = Math.abs(contracts - Math.round(contracts)) < Math.max(NOISE, Math.abs(contracts) * 1e-12);
  const most = whole ? digits : Math.max(digits, 6);
  return value.toLocaleString("en-US", { maximumFractionDigits: most }).replace(/^-/, MINUS);
}

/**
 * What a script measures, of any size: `45.60M`, `70.00`, `0.00001234`.
 * @param {number} value
 */
export function measure(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return amount(value);
  return price(value, size >= 1 || size < 1e-9 ? 2 : Math.max(2, 3 - Math.floor(Math.log10(size))));
}

/**
 * TradingView's timeframes as people say them: `1m`, `1h`, `4h`, `1D`, `30s`.
 * @param {string} timeframe
 */
export function timeframeText(timeframe) {
  if (/^\d+$/.test(timeframe)) {
    const minutes = Number(timeframe);
    return minutes % 60 === 0 ? `${minutes / 60}h` : `${minutes}m`;
  }
  return timeframe.replace(/^(?=\D)/, "1").replace("S", "s");
}

/**
 * How long ago, in the two largest units: `12 s`, `3 min`, `2 h 5 min`, `4 d`.
 * @param {number} ms
 */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} d`;
}

/** A time zone: what its clocks say at a moment. `name` is of the IANA list; `local` is the browser's. */
export class Zone {
  /** @param {string} name */
  constructor(name) {
    this.name = name === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : name;
    this.clock = new Intl.DateTimeFormat("en-US", {
      timeZone: this.name,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    /** @type {Map<number, number | null>} the offset through a week, null where the clocks change in it */
    this.weeks = new Map();
  }

  /**
   * How far its clocks are ahead of UTC, in ms. Asking the browser takes microseconds, a chart asks for each bar:
   * through a week without a change of the clocks one answer holds.
   * @param {number} ms
   */
  offset(ms) {
    if (this.name === "UTC") return 0;
    const week = Math.floor(ms / WEEK);
    let offset = this.weeks.get(week);
    if (offset === undefined) {
      const [first, last] = [this.asked(week * WEEK), this.asked((week + 1) * WEEK - MINUTE)];
      offset = first === last ? first : null;
      this.weeks.set(week, offset);
    }
    return offset ?? this.asked(ms);
  }

  /** @param {number} ms */
  asked(ms) {
    const part = Object.fromEntries(this.clock.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const shown = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
    return shown - Math.floor(ms / 1000) * 1000;
  }

  /**
   * @param {number} ms
   * @returns {Clock}
   */
  at(ms) {
    const date = new Date(ms + this.offset(ms));
    return {
      year: date.getUTCFullYear(),
      month: date.getUTCMonth(),
      day: date.getUTCDate(),
      weekday: date.getUTCDay(),
      hour: date.getUTCHours(),
      minute: date.getUTCMinutes(),
      second: date.getUTCSeconds(),
    };
  }

  /** `UTC`, `UTC+2`, `UTC−3:30` at this moment. @param {number} ms */
  label(ms) {
    const minutes = Math.round(this.offset(ms) / MINUTE);
    if (minutes === 0) return "UTC";
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    return `UTC${minutes < 0 ? MINUS : "+"}${hours}${rest ? `:${pad(rest)}` : ""}`;
  }
}

/**
 * The zone of this name, UTC where the browser does not know it.
 * @param {string} name
 */
export function zoneOf(name) {
  try {
    return new Zone(name);
  } catch (error) {
    if (error instanceof RangeError) return new Zone("UTC");
    throw error;
  }
}

/** `14:05` or `14:05:30`. @param {Clock} clock @param {boolean} [seconds] */
export function timeText(clock, seconds = false) {
  return `${pad(clock.hour)}:${pad(clock.minute)}${seconds ? `:${pad(clock.second)}` : ""}`;
}

/** `Fri 21 Nov '26`. @param {Clock} clock */
export function dateText(clock) {
  return `${WEEKDAYS[clock.weekday]} ${clock.day} ${MONTHS[clock.month]} '${pad(clock.year % 100)}`;
}

/**
 * When a bar opens: the date, and the time where bars are shorter than a day.
 * @param {Clock} clock
 * @param {number} barMs
 */
export function momentText(clock, barMs) {
  return barMs >= DAY ? dateText(clock) : `${dateText(clock)}  ${timeText(clock, barMs < MINUTE)}`;
}

/**
 * A mark of the time axis. `kind` counts as lightweight-charts' TickMarkType does: year, month, day, time, seconds.
 * @param {Clock} clock
 * @param {number} kind
 */
export function axisText(clock, kind) {
  if (kind === 0) return String(clock.year);
  if (kind === 1) return MONTHS[clock.month];
  if (kind === 2) return String(clock.day);
  return timeText(clock, kind === 4);
}
