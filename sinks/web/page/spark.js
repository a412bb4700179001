// A line as small as a word: how a value went, above its beginning in one colour and below it in another.

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} values
 */
export function drawSpark(canvas, values) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const pen = canvas.getContext("2d");
  if (!pen || values.length < 2 || width === 0) return;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  pen.scale(devicePixelRatio, devicePixelRatio);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = (/** @type {number} */ value) => height - 2 - ((value - low) / (high - low || 1)) * (height - 4);
  const x = (/** @type {number} */ i) => (i / (values.length - 1)) * width;
  const style = getComputedStyle(canvas);
  const colour = style.getPropertyValue(values[values.length - 1] < values[0] ? "--down" : "--up").trim();
  pen.strokeStyle = style.getPropertyValue("--line").trim();
  pen.beginPath();
  pen.moveTo(0, y(values[0]));
  pen.lineTo(width, y(values[0]));
  pen.stroke();
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.beginPath();
  values.forEach((value, i) => pen.lineTo(x(i), y(value)));
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(0, height);
  pen.globalAlpha = 0.12;
  pen.fillStyle = colour;
  pen.fill();
}
