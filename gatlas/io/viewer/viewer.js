// The viewer of a page that `gatlas render -o x.html` writes. It needs WebGL 2 and no network.
//
// A worker unpacks the splats (gatlas/io/viewer/quantized.py packs them) and sorts them by depth; the shaders project
// and blend them as gatlas.raster does: gsplat's conventions, colors blended as sRGB values.
"use strict";

const WIDE = 2048; // texels in a row of the textures
const TOGETHER = 128; // splats in an instance: instances of one quad each are slow
const NEAREST = 0.02, FARTHEST = 100; // of the eye, in radii of the object
const MIN_BLUR_ANTIALIASED = 0.05; // square pixels, as gatlas.raster.blur has it
const BLUR = 0.3;

// The worker ----------------------------------------------------------------------------------------------------------

function work() {
  const positions = []; // of each splat, for sorting

  // A channel per plane of its lowest bytes, then of the next: columns[channel][i].
  function columns(bytes, at, count, channels, width) {
    const found = [];
    for (let channel = 0; channel < channels; channel++) {
      const values = new Uint32Array(count);
      for (let byte = 0; byte < width; byte++) {
        const plane = at + (channel * width + byte) * count;
        for (let i = 0; i < count; i++) values[i] |= bytes[plane + i] << (8 * byte);
      }
      found.push(values);
    }
    return found;
  }

  // Undo the zigzag of differences, modulo the width.
  function summed(values, width) {
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      const zigzag = values[i];
      sum = (sum + ((zigzag >>> 1) ^ -(zigzag & 1))) | 0;
      values[i] = width === 4 ? sum : sum & (2 ** (8 * width) - 1);
    }
    return values;
  }

  async function unpack({ splat, header, text }) {
    const letters = atob(text), packed = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const { count, positionBytes, scaleBytes, low, high, scales, coefficients } = header;
    let at = 0;
    const next = (channels, width) => {
      const found = columns(bytes, at, count, channels, width);
      at += count * channels * width;
      return found;
    };
    const places = next(3, positionBytes).map(values => summed(values, positionBytes));
    const sizes = next(3, scaleBytes);
    const [rotations] = next(1, 4);
    const colors = next(4, 1);
    const points = new Float32Array(3 * count);
    const rows = Math.max(1, Math.ceil((2 * count) / WIDE));
    const texels = new Uint32Array(4 * WIDE * rows);
    const floats = new Float32Array(texels.buffer);
    const most = 2 ** (8 * positionBytes) - 1, steps = 2 ** (8 * scaleBytes) - 1;
    for (let i = 0; i < count; i++) {
      for (let axis = 0; axis < 3; axis++) {
        const value = low[axis] + (places[axis][i] / most) * (high[axis] - low[axis]);
        points[3 * i + axis] = floats[8 * i + axis] = value;
        floats[8 * i + 5 + axis] = Math.exp(scales[0] + (sizes[axis][i] / steps) * (scales[1] - scales[0]));
        texels[8 * i + 4] |= colors[axis][i] << (8 * axis);
      }
      texels[8 * i + 3] = rotations[i];
      texels[8 * i + 4] |= colors[3][i] << 24;
    }
    positions[splat] = points;
    let harmonics = null;
    if (coefficients > 1) {
      const channels = 3 * (coefficients - 1), words = coefficients > 9 ? 12 : coefficients > 4 ? 8 : 4;
      harmonics = new Uint32Array(Math.ceil((count * words) / (4 * WIDE)) * 4 * WIDE);
      for (let channel = 0; channel < channels; channel++) {
        const plane = at + channel * count;
        for (let i = 0; i < count; i++) harmonics[i * words + (channel >> 2)] |= bytes[plane + i] << (8 * (channel & 3));
      }
    }
    postMessage({ splat, texels, harmonics }, [texels.buffer, ...(harmonics ? [harmonics.buffer] : [])]);
  }

  // The Gaussians from the farthest to the nearest along a direction: a radix sort of 2 x 16 bits.
  function sorted(points, [x, y, z]) {
    const count = points.length / 3;
    const depths = new Float32Array(count);
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < count; i++) {
      const depth = Math.fround(points[3 * i] * x + points[3 * i + 1] * y + points[3 * i + 2] * z);
      depths[i] = depth;
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    const keys = new Uint32Array(count), scale = high > low ? 4294967295 / (high - low) : 0;
    for (let i = 0; i < count; i++) keys[i] = Math.min((high - depths[i]) * scale, 4294967295);
    const size = Math.ceil(count / WIDE) * WIDE; // whole rows of a texture
    let from = null, to = new Uint32Array(size);
    for (const shift of [0, 16]) {
      const starts = new Uint32Array(65537);
      for (let i = 0; i < count; i++) starts[((keys[i] >>> shift) & 65535) + 1]++;
      for (let i = 0; i < 65536; i++) starts[i + 1] += starts[i];
      for (let i = 0; i < count; i++) {
        const index = from ? from[i] : count - 1 - i; // of equal depths the first is the nearest
        to[starts[(keys[index] >>> shift) & 65535]++] = index;
      }
      [from, to] = [to, from || new Uint32Array(size)];
    }
    return from;
  }

  onmessage = ({ data }) => {
    if (data.text !== undefined) {
      unpack(data).catch(error => postMessage({ splat: data.splat, fault: String(error) }));
    } else {
      const order = sorted(positions[data.splat], data.forward);
      postMessage({ splat: data.splat, forward: data.forward, order }, [order.buffer]);
    }
  };
}

// The shaders ---------------------------------------------------------------------------------------------------------

const PROJECT = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform usampler2D order, splats, harmonics;
uniform mat3 rotation; // world to camera: x right, y down, z forward
uniform vec3 eye, bands;
uniform vec2 size, colors; // pixels; range of the colors
uniform float focal, near, blur;
uniform bool antialiased;
uniform int coefficients, count;
out vec2 offset; // from the center, in standard deviations
flat out vec4 color;

uint words[12];

uvec4 texel(usampler2D from, uint i) { return texelFetch(from, ivec2(i % ${WIDE}u, i / ${WIDE}u), 0); }

float coefficient(int i, float step) {
  return (float((words[i >> 2] >> uint(8 * (i & 3))) & 255u) - 128.0) * step;
}

vec3 sh(int k) {
  float band = k < 4 ? bands.x : k < 9 ? bands.y : bands.z;
  int i = 3 * (k - 1);
  return vec3(coefficient(i, band), coefficient(i + 1, band), coefficient(i + 2, band));
}

vec3 higherBands(uint index, vec3 d) {
  uint each = coefficients > 9 ? 3u : coefficients > 4 ? 2u : 1u;
  for (uint i = 0u; i < each; i++) {
    uvec4 four = texel(harmonics, index * each + i);
    words[4u * i] = four.x; words[4u * i + 1u] = four.y; words[4u * i + 2u] = four.z; words[4u * i + 3u] = four.w;
  }
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  vec3 sum = 0.4886025119029199 * (-y * sh(1) + z * sh(2) - x * sh(3));
  if (coefficients > 4) {
    sum += 1.0925484305920792 * (x * y * sh(4) - y * z * sh(5) - x * z * sh(7))
      + 0.31539156525252005 * (2.0 * zz - xx - yy) * sh(6) + 0.5462742152960396 * (xx - yy) * sh(8);
  }
  if (coefficients > 9) {
    sum += -0.5900435899266435 * (y * (3.0 * xx - yy) * sh(9) + x * (xx - 3.0 * yy) * sh(15))
      + 2.890611442640554 * x * y * z * sh(10) + 1.445305721320277 * z * (xx - yy) * sh(14)
      - 0.4570457994644658 * (4.0 * zz - xx - yy) * (y * sh(11) + x * sh(13))
      + 0.3731763325901154 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * sh(12);
  }
  return sum;
}

mat3 turn(uint packed) { // the three smaller components in 10 bits each, and which one is left out
  vec3 small = (vec3(packed & 1023u, (packed >> 10u) & 1023u, (packed >> 20u) & 1023u) / 511.0 - 1.0) * ${Math.SQRT1_2};
  float large = sqrt(max(0.0, 1.0 - dot(small, small)));
  uint left = packed >> 30u;
  vec4 q = left == 0u ? vec4(large, small) : left == 1u ? vec4(small.x, large, small.yz)
    : left == 2u ? vec4(small.xy, large, small.z) : vec4(small, large); // wxyz
  q = normalize(q);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // clipped, unless all goes well
  int number = gl_InstanceID * ${TOGETHER} + (gl_VertexID >> 2);
  if (number >= count) return;
  uint index = texel(order, uint(number)).x;
  uvec4 one = texel(splats, 2u * index), two = texel(splats, 2u * index + 1u);
  vec3 away = uintBitsToFloat(one.xyz) - eye, p = rotation * away;
  if (p.z < near) return;
  vec2 ratio = p.xy / p.z, limit = 0.65 * size / focal; // the Jacobian is that of a place near the picture
  vec2 held = clamp(ratio, -limit, limit);
  mat3 axes = rotation * turn(one.w);
  vec3 scale = uintBitsToFloat(two.yzw);
  vec3 z = vec3(axes[0].z, axes[1].z, axes[2].z);
  vec3 across = focal / p.z * scale * (vec3(axes[0].x, axes[1].x, axes[2].x) - held.x * z);
  vec3 down = focal / p.z * scale * (vec3(axes[0].y, axes[1].y, axes[2].y) - held.y * z);
  float xx = dot(across, across) + blur, xy = dot(across, down), yy = dot(down, down) + blur;
  float determinant = xx * yy - xy * xy;
  if (!(determinant > 0.0)) return;
  float opacity = float(two.x >> 24u) / 255.0;
  if (antialiased) opacity *= length(cross(across, down)) / sqrt(determinant);
  if (opacity < 1.0 / 255.0) return;

  float larger = 0.5 * (xx + yy) + length(vec2(0.5 * (xx - yy), xy)), angle = 0.5 * atan(2.0 * xy, xx - yy);
  vec2 major = vec2(cos(angle), sin(angle)), minor = vec2(-major.y, major.x);
  float extent = min(3.33, sqrt(2.0 * log(255.0 * opacity))); // there alpha is 1/255
  offset = (vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0) * extent;
  vec2 pixel = focal * ratio + offset.x * sqrt(larger) * major + offset.y * sqrt(determinant / larger) * minor;
  gl_Position = vec4(2.0 * pixel / size * vec2(1.0, -1.0), 0.0, 1.0);

  vec3 seen = colors.x + vec3(two.x & 255u, (two.x >> 8u) & 255u, (two.x >> 16u) & 255u) / 255.0 * (colors.y - colors.x);
  if (coefficients > 1) seen += higherBands(index, normalize(away));
  color = vec4(max(seen, 0.0), opacity);
}`;

const BLEND = `#version 300 es
precision highp float;
in vec2 offset;
flat in vec4 color;
out vec4 pixel;
void main() {
  float alpha = min(0.999, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  pixel = vec4(color.rgb * alpha, alpha);
}`;

const COVER = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

const SHOW = `#version 300 es
precision highp float;
uniform highp sampler2D sum;
out vec4 pixel;
void main() {
  pixel = texelFetch(sum, ivec2(gl_FragCoord.xy), 0);
  pixel.rgb = min(pixel.rgb, pixel.a);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) {
    const logs = gl.getAttachedShaders(made).map(shader => gl.getShaderInfoLog(shader));
    throw new Error(`shader: ${logs.join("\n") || gl.getProgramInfoLog(made)}`);
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(made, i);
    uniforms[name] = gl.getUniformLocation(made, name);
  }
  return { made, uniforms };
}

// A texture of whole rows of words, 4 or 1 in a texel.
function texture(gl, words, channels = 4) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  const rows = words.length / (channels * WIDE);
  const [inside, format] = channels === 4 ? [gl.RGBA32UI, gl.RGBA_INTEGER] : [gl.R32UI, gl.RED_INTEGER];
  gl.texImage2D(gl.TEXTURE_2D, 0, inside, WIDE, rows, 0, format, gl.UNSIGNED_INT, words);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  return made;
}

// The quads of TOGETHER splats, two triangles each.
function quads(gl) {
  const corners = new Uint16Array(6 * TOGETHER);
  for (let i = 0; i < TOGETHER; i++) corners.set([0, 1, 2, 2, 1, 3].map(corner => 4 * i + corner), 6 * i);
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
  gl.bindVertexArray(null);
  return array;
}

// The camera ----------------------------------------------------------------------------------------------------------

// Angles in radians, lengths in radii of the object; azimuth 0 stands on +z, the front, and grows towards +x.
function axesOf({ azimuth, elevation }) {
  const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
  return { right: [ca, 0, -sa], down: [sa * se, -ce, ca * se], forward: [-ce * sa, -se, -ce * ca] };
}

function eyeOf(camera, { forward }) {
  return camera.target.map((value, i) => value - camera.distance * forward[i]);
}

// The variance that a pixel adds, in square pixels: as gatlas.raster.blur.fitted_blur.
function blurOf({ pixelSizes, ball, antialiased }, eye, focal) {
  if (!pixelSizes) return BLUR;
  const [x, y, z, radius] = ball;
  const width = Math.max(Math.hypot(eye[0] - x, eye[1] - y, eye[2] - z), radius) / focal;
  const nearest = Math.min(Math.max(width, pixelSizes[0] * 0.999), pixelSizes[1] * 1.001);
  const blur = BLUR * (nearest / width) ** 2;
  return antialiased ? Math.max(blur, MIN_BLUR_ANTIALIASED) : blur;
}

// The page ------------------------------------------------------------------------------------------------------------

class Viewer {
  constructor(page) {
    this.page = page;
    this.stage = document.getElementById("stage");
    this.canvas = document.querySelector("canvas");
    this.tiles = [...document.querySelectorAll("figure")];
    this.splats = page.splats.map(header => ({ header, asked: false, sorting: false, order: null }));
    this.shown = page.together ? page.splats.map((_, i) => i) : [0];
    this.start = { azimuth: page.azimuth, elevation: page.elevation, distance: page.distance, target: [0, 0, 0] };
    this.camera = structuredClone(this.start);
    this.backgrounds = [...new Set([page.background, "#ffffff", "#808080", "#000000"])];
    this.pointers = new Map();
    this.waiting = false;
    document.body.classList.toggle("bare", location.hash === "#bare"); // in the frame of another page
  }

  run() {
    const gl = this.canvas.getContext("webgl2", { antialias: false, depth: false });
    if (!gl) return this.fail("This browser has no WebGL 2: only the first frame is shown.");
    if (typeof DecompressionStream === "undefined") {
      return this.fail("This browser is too old for the viewer: only the first frame is shown.");
    }
    this.gl = gl;
    this.deep = gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float");
    this.splatting = program(gl, PROJECT, BLEND);
    this.showing = program(gl, COVER, SHOW);
    this.quads = quads(gl);
    this.target = gl.createFramebuffer();
    this.canvas.addEventListener("webglcontextlost", event => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => location.reload());
    const source = new Blob([`"use strict"; const WIDE = ${WIDE}; (${work})();`], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(source));
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = event => this.fail(event.message);
    this.listen();
    this.arrange();
    new ResizeObserver(() => this.arrange()).observe(this.stage);
  }

  fail(message) {
    document.body.dataset.state = "failed";
    const fault = document.getElementById("fault");
    fault.textContent = message;
    fault.hidden = false;
  }

  // Put the shown tiles into a grid whose places are nearly square, and unpack what is shown for the first time.
  arrange() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const count = this.shown.length;
    let columns = 1;
    const side = each => Math.min(width / each, height / Math.ceil(count / each));
    for (let each = 2; each <= count; each++) if (side(each) > side(columns)) columns = each;
    const grid = document.getElementById("tiles");
    grid.style.gridTemplate = `repeat(${Math.ceil(count / columns)}, minmax(0, 1fr)) / repeat(${columns}, minmax(0, 1fr))`;
    grid.classList.toggle("several", count > 1);
    this.tiles.forEach((tile, i) => (tile.style.display = this.shown.includes(i) ? "" : "none"));
    for (const i of this.shown) {
      const splat = this.splats[i];
      if (splat.asked) continue;
      splat.asked = true;
      const holder = document.getElementById(`splat-${i}`);
      this.worker.postMessage({ splat: i, header: splat.header, text: holder.textContent });
      holder.remove();
    }
    this.describe();
    this.draw();
  }

  describe() {
    const gaussians = this.shown.reduce((sum, i) => sum + this.page.splats[i].total, 0);
    const name = this.shown.length === 1 && this.splats.length === 1 ? `${this.page.splats[this.shown[0]].name} \u00b7 ` : "";
    document.getElementById("facts").textContent = `${name}${gaussians.toLocaleString("en")} Gaussians`;
    document.getElementById("menu").value = this.shown.length === 1 ? String(this.shown[0]) : "";
    document.getElementById("together").textContent = this.shown.length > 1 ? "One at a time" : "Side by side";
  }

  receive({ splat: i, fault, texels, harmonics, order, forward }) {
    if (fault) return this.fail(`The data cannot be read: ${fault}`);
    const { gl } = this, splat = this.splats[i];
    if (texels) {
      const most = (gl.getParameter(gl.MAX_TEXTURE_SIZE) * WIDE) / 2;
      if (splat.header.count > most) return this.fail(`This browser shows at most ${most.toLocaleString("en")} Gaussians.`);
      splat.texture = texture(gl, texels);
      splat.harmonics = harmonics ? texture(gl, harmonics) : null;
    } else {
      splat.sorting = false;
      splat.sortedFor = forward;
      gl.deleteTexture(splat.order);
      splat.order = texture(gl, order, 1);
    }
    this.draw();
  }

  draw() {
    document.body.dataset.state = "drawing";
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { gl, canvas } = this;
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight].map(side => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== width || canvas.height !== height || !this.sum) {
      [canvas.width, canvas.height] = [width, height];
      this.resize(width, height);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA); // from the farthest to the nearest
    const axes = axesOf(this.camera);
    let ready = true;
    for (const i of this.shown) ready = this.paintTile(i, axes, ratio) && ready;
    gl.disable(gl.SCISSOR_TEST);
    gl.disable(gl.BLEND);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.useProgram(this.showing.made);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.sum);
    gl.bindVertexArray(null);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    if (ready) document.body.dataset.state = "ready";
  }

  // Draw a splat into its tile. Returns false where it is not unpacked or not sorted for this direction yet.
  paintTile(i, axes, ratio) {
    const splat = this.splats[i], { header } = splat;
    if (!splat.texture) return false;
    const sorted = splat.order !== null && splat.sortedFor.every((value, axis) => value === axes.forward[axis]);
    if (!sorted && !splat.sorting) {
      splat.sorting = true;
      this.worker.postMessage({ splat: i, forward: axes.forward });
    }
    if (splat.order === null) return false;
    const { gl } = this, { made, uniforms } = this.splatting;
    const stage = this.stage.getBoundingClientRect();
    const place = this.tiles[i].querySelector(".view").getBoundingClientRect();
    const [x, wide] = [Math.round((place.left - stage.left) * ratio), Math.round(place.width * ratio)];
    const [y, high] = [Math.round((place.top - stage.top) * ratio), Math.round(place.height * ratio)];
    const focal = (0.5 * Math.min(wide, high)) / Math.tan(0.5 * this.page.fov);
    const eye = eyeOf(this.camera, axes);
    gl.viewport(x, this.canvas.height - y - high, wide, high);
    gl.scissor(x, this.canvas.height - y - high, wide, high);
    gl.useProgram(made);
    gl.uniformMatrix3fv(uniforms.rotation, true, [...axes.right, ...axes.down, ...axes.forward]);
    gl.uniform3fv(uniforms.eye, eye);
    gl.uniform2f(uniforms.size, wide, high);
    gl.uniform1f(uniforms.focal, focal);
    gl.uniform1f(uniforms.near, header.near);
    gl.uniform1f(uniforms.blur, blurOf(header, eye, focal));
    gl.uniform1i(uniforms.antialiased, header.antialiased ? 1 : 0);
    gl.uniform1i(uniforms.coefficients, header.coefficients);
    gl.uniform2fv(uniforms.colors, header.colors);
    gl.uniform3fv(uniforms.bands, header.bands);
    gl.uniform1i(uniforms.count, header.count);
    const textures = { order: splat.order, splats: splat.texture, harmonics: splat.harmonics || splat.texture };
    Object.entries(textures).forEach(([name, each], unit) => {
      gl.uniform1i(uniforms[name], unit);
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, each);
    });
    gl.bindVertexArray(this.quads);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * TOGETHER, gl.UNSIGNED_SHORT, 0, Math.ceil(header.count / TOGETHER));
    this.tiles[i].classList.add("drawn");
    return sorted;
  }

  resize(width, height) {
    const { gl } = this;
    if (this.sum) gl.deleteTexture(this.sum);
    this.sum = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.sum);
    gl.texStorage2D(gl.TEXTURE_2D, 1, this.deep ? gl.RGBA16F : gl.RGBA8, width, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.sum, 0);
  }

  // What the user does ------------------------------------------------------------------------------------------------

  turn(across, down) {
    this.camera.azimuth -= across;
    const limit = Math.PI / 2;
    this.camera.elevation = Math.min(limit, Math.max(-limit, this.camera.elevation + down));
    this.changed();
  }

  zoom(factor) {
    this.camera.distance = Math.min(FARTHEST, Math.max(NEAREST, this.camera.distance * factor));
    this.changed();
  }

  // Move by pixels of the page; the point in the middle follows the pointer.
  move(across, down) {
    const axes = axesOf(this.camera);
    const place = this.tiles[this.shown[0]].querySelector(".view").getBoundingClientRect();
    const pixel = (2 * this.camera.distance * Math.tan(0.5 * this.page.fov)) / Math.min(place.width, place.height);
    this.camera.target = this.camera.target.map(
      (value, i) => value - pixel * (across * axes.right[i] + down * axes.down[i]),
    );
    this.changed();
  }

  reset() {
    this.camera = structuredClone(this.start);
    this.changed();
  }

  changed() {
    document.getElementById("hint").classList.add("away");
    this.draw();
  }

  show(shown) {
    this.shown = shown;
    this.arrange();
  }

  nextBackground() {
    this.backgrounds.push(this.backgrounds.shift());
    this.applyBackground();
  }

  // "auto" follows the light or dark scheme of the browser.
  applyBackground() {
    const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "#1c1c1c" : "#f4f4f4";
    const color = this.backgrounds[0] === "auto" ? scheme : this.backgrounds[0];
    document.body.style.setProperty("--page", color);
    const [red, green, blue] = [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));
    document.body.classList.toggle("dark", 0.3 * red + 0.59 * green + 0.11 * blue < 110);
  }

  listen() {
    const { stage } = this;
    const byId = id => document.getElementById(id);
    stage.addEventListener("pointerdown", event => {
      stage.setPointerCapture(event.pointerId);
      stage.classList.add("turning");
      this.pointers.set(event.pointerId, event);
    });
    stage.addEventListener("pointermove", event => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, event => {
        this.pointers.delete(event.pointerId);
        stage.classList.toggle("turning", this.pointers.size > 0);
      });
    }
    stage.addEventListener("contextmenu", event => event.preventDefault());
    stage.addEventListener("dblclick", () => this.reset());
    stage.addEventListener("wheel", event => {
      event.preventDefault();
      const lines = event.deltaMode === 0 ? 1 : event.deltaMode === 1 ? 16 : 400;
      this.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0015)));
    }, { passive: false });
    addEventListener("keydown", event => this.key(event));
    byId("background").addEventListener("click", () => this.nextBackground());
    byId("reset").addEventListener("click", () => this.reset());
    this.applyBackground();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.applyBackground());
    if (this.splats.length < 2) return;
    const menu = byId("menu");
    const all = this.splats.map((_, i) => i);
    menu.append(new Option("All", ""), ...this.page.splats.map(({ name }, i) => new Option(name, String(i))));
    menu.addEventListener("change", () => this.show(menu.value === "" ? all : [Number(menu.value)]));
    byId("together").addEventListener("click", () => this.show(this.shown.length > 1 ? [0] : all));
    for (const control of [menu, byId("together")]) control.hidden = false;
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [across, down] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, event);
    if (other) {
      const apart = place => Math.hypot(place.clientX - other.clientX, place.clientY - other.clientY);
      this.move(across / 2, down / 2);
      this.zoom(Math.max(1, apart(before)) / Math.max(1, apart(event)));
    } else if (event.shiftKey || event.buttons & 6) {
      this.move(across, down);
    } else {
      const speed = Math.PI / Math.min(this.stage.clientWidth, this.stage.clientHeight);
      this.turn(across * speed, down * speed);
    }
  }

  key(event) {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.PI / 36;
    const actions = {
      ArrowLeft: () => this.turn(-step, 0), ArrowRight: () => this.turn(step, 0),
      ArrowUp: () => this.turn(0, -step), ArrowDown: () => this.turn(0, step),
      "+": () => this.zoom(0.9), "=": () => this.zoom(0.9), "-": () => this.zoom(1 / 0.9),
      r: () => this.reset(), b: () => this.nextBackground(), h: () => document.body.classList.toggle("bare"),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

const viewer = new Viewer(JSON.parse(document.getElementById("page").textContent));
try {
  viewer.run();
} catch (error) {
  viewer.fail(`The viewer cannot start: ${error.message}`);
}
