// The page of `mixlab serve`: asks the server for labels, and the user for a token if the server needs one.

const AT_ONCE = 4;
const RETRIES = 20; // of a request to a busy server, about a second apart

const where = () => "by this server";
const isImage = (file) => file.type.startsWith("image/") || file.type === ""; // browsers know no type of HEIC and others

async function classify(file) {
  const { labels, error, unlike_training: isUnlike, milliseconds } = await ask(file);
  if (error) throw new Error(error);
  return {
    labels,
    thumbnail: URL.createObjectURL(file),
    note:
      `Answered in ${milliseconds.toFixed(0)} ms, with the way to the server.` +
      (isUnlike ? " This image is unlike the training images: its label should not be trusted." : ""),
  };
}

/** The answer for a file, and the time from the request to it. Rejects with a sentence if there is no answer. */
async function ask(file) {
  for (let attempt = 0; ; attempt++) {
    const body = new FormData();
    body.append("files", file);
    const usedToken = token;
    const headers = usedToken ? { Authorization: `Bearer ${usedToken}` } : {};
    const start = performance.now();
    const response = await fetch("predict?top=5", { method: "POST", body, headers }).catch(() => {
      throw new Error(`${file.name}: the server does not answer.`);
    });
    const { predictions, detail } = await response.json();
    if (predictions) return { ...predictions[0], milliseconds: performance.now() - start };
    if (response.status === 401) {
      if (usedToken === token) await anotherToken();
    } else if (response.status === 503 && attempt < RETRIES) {
      await new Promise((wake) => setTimeout(wake, 1000 * response.headers.get("Retry-After")));
    } else {
      throw new Error(`${file.name}: ${detail}`);
    }
  }
}

function showImage({ name, thumbnail }) {
  const image = $("seen");
  image.onload = () => image.classList.toggle("pixelated", image.naturalWidth < 160);
  Object.assign(image, { src: thumbnail, alt: name });
  $("seen-name").textContent = name;
}

// ---- the token

let token = "";
let asked; // a promise of another token, while the form is open

function anotherToken() {
  asked ??= new Promise((resolve) => {
    const form = $("token");
    $("token-reason").textContent = token ? "The server does not accept this token." : "This server needs a token.";
    form.hidden = false;
    form.querySelector("input").focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      token = form.querySelector("input").value.trim();
      form.hidden = true;
      asked = undefined;
      resolve();
    };
  });
  return asked;
}

ready("Ready.");
