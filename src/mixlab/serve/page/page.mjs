// The page of `mixlab serve`: asks the server for labels, and the user for a token if the server needs one.

const AT_ONCE = 4;
const RETRIES = 20; // of a request to a busy server, about a second apart

const where = () => "by this server";
const isImage = (file) => file.type.startsWith("image/") || file.type === ""; // browsers know no type of HEIC and others

async function classify(file) {
  const start = performance.now();
  const { predictions } = await ask(file);
  const [{ labels, error, unlike_training: isUnlike }] = predictions;
  if (error) throw new Error(error);
  return {
    labels,
    thumbnail: URL.createObjectURL(file),
    note:
      `Answered in ${(performance.now() - start).toFixed(0)} ms, with the way to the server.` +
      (isUnlike ? " This image is unlike the training images: its label should not be trusted." : ""),
  };
}

/** The answer for a file. Rejects with a sentence about the file, or the server. */
async function ask(file) {
  for (let attempt = 0; ; attempt++) {
    const body = new FormData();
    body.append("files", file);
    const usedToken = token;
    const headers = usedToken ? { Authorization: `Bearer ${usedToken}` } : {};
    const response = await fetch("predict?top=5", { method: "POST", body, headers }).catch(() => {
      throw new Error(`${file.name}: the server does not answer.`);
    });
    const answer = await response.json();
    if (answer.predictions) return answer;
    if (response.status === 401) {
      if (usedToken === token) await anotherToken();
    } else if (response.status === 503 && attempt < RETRIES) {
      await new Promise((wake) => setTimeout(wake, 1000 * response.headers.get("Retry-After")));
    } else {
      throw new Error(`${file.name}: ${answer.detail}`);
    }
  }
}

function showImage({ name, thumbnail }) {
  $("seen").src = thumbnail;
  $("seen").alt = name;
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
