"""A mesh of a splat in three.js, in headless Chromium, beside what `gatlas render` shows of it."""

import base64
import contextlib
import http.server
import io as stdio
import json
import os
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.meshes.edits import normalize_mesh
from gatlas.metrics.psnr import psnr
from tests.helpers.waiting import LIMIT

pytestmark = pytest.mark.slow
SIZE = 256
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
PAGE = """<!doctype html><script type="importmap">
{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
async function picture() {
  const THREE = await import("three");
  const {GLTFLoader} = await import("three/addons/loaders/GLTFLoader.js");
  const given = GIVEN;
  const renderer = new THREE.WebGLRenderer({antialias: true, preserveDrawingBuffer: true});
  renderer.setSize(given.size, given.size, false);
  renderer.setClearColor(0xffffff);
  const scene = new THREE.Scene(), loaded = await new GLTFLoader().loadAsync("/thing.glb");
  const object = new THREE.Group();
  object.add(loaded.scene);
  loaded.scene.position.set(...given.center.map(x => -x));
  object.scale.setScalar(1 / given.scale);
  scene.add(object);
  const camera = new THREE.PerspectiveCamera(given.fov, 1, 0.01, 100);
  new THREE.Matrix4().set(...given.pose).decompose(camera.position, camera.quaternion, camera.scale);
  renderer.render(scene, camera);
  return renderer.domElement.toDataURL();
}
picture().catch(error => "" + error.stack).then(body => fetch("/", {method: "POST", body}));
</script>"""


def installed_three():
    """The folder of three.js; the test is skipped where it, or Chromium, is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed")
    for folder in filter(None, [os.environ.get("GATLAS_NODE_MODULES"), *os.environ.get("NODE_PATH", "").split(":")]):
        if (Path(folder) / "three").is_dir():
            return chromium, Path(folder)
    pytest.skip("three is in no folder of GATLAS_NODE_MODULES or NODE_PATH: npm install three")


class Pages(http.server.SimpleHTTPRequestHandler):
    """Serve a page, a mesh and three.js, and keep what the page sends back."""

    def __init__(self, *arguments, page, mesh, answer, **keywords):
        self.page, self.mesh, self.answer = page, mesh, answer
        super().__init__(*arguments, **keywords)

    def do_GET(self):
        own = {"/": (self.page, "text/html"), "/thing.glb": (self.mesh, "model/gltf-binary")}
        if self.path not in own:
            super().do_GET()
            return
        body, kind = own[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.answer["body"] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(204)
        self.end_headers()
        self.answer["arrived"].set()

    def log_message(self, *_):
        pass


def shown_in_browser(chromium, modules, mesh, given, profile):
    """What three.js draws of a GLB."""
    answer = {"arrived": threading.Event()}
    page = PAGE.replace("GIVEN", json.dumps(given)).encode()
    handler = partial(Pages, page=page, mesh=mesh, answer=answer, directory=str(modules))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        words = [chromium, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", address]
        browser = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert answer["arrived"].wait(LIMIT), "the page sent nothing"
        finally:
            browser.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                browser.wait(10)
            browser.kill()
            server.shutdown()
    assert answer["body"].startswith("data:image/png"), answer["body"]
    return np.asarray(Image.open(stdio.BytesIO(base64.b64decode(answer["body"].partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("texture", [128, 0])
def test_three_js_shows_a_mesh_as_gatlas_render_does(gatlas, tmp_path, egg_bytes, texture):
    chromium, modules = installed_three()
    (tmp_path / "egg.ply").write_bytes(egg_bytes)
    gatlas("mesh", "egg.ply", "--views", 12, "--resolution", 96, "--grid", 48, "--triangles", 600,
           "--texture", texture, "-o", "egg.glb")  # fmt: skip
    gatlas("render", "egg.glb", "--orbit", 1, "--azimuth", 40, "--width", SIZE, "--background", "white", "-o", "own/")
    cameras = json.loads((tmp_path / "own/transforms.json").read_text())
    frame = cameras["frames"][0]
    ours = np.asarray(Image.open(tmp_path / "own" / frame["file_path"]).convert("RGB"))
    origin = normalize_mesh(io.load_mesh(tmp_path / "egg.glb")).origin
    given = {
        "size": SIZE,
        "center": list(map(float, origin.center)),
        "scale": float(origin.scale),
        "fov": float(np.degrees(2 * np.arctan(0.5 * SIZE / cameras["fl_y"]))),
        "pose": np.asarray(frame["transform_matrix"], dtype=float).reshape(-1).tolist(),
    }
    theirs = shown_in_browser(chromium, modules, (tmp_path / "egg.glb").read_bytes(), given, tmp_path / "profile")
    assert theirs.shape == ours.shape
    assert (ours < 250).any(axis=2).mean() > 0.1
    assert psnr(ours / 255.0, theirs / 255.0) > 25
