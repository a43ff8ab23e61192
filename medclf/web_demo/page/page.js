"use strict";

const input = document.getElementById("file");
const zone = document.getElementById("zone");
const result = document.getElementById("result");
const maxMb = Number(input.dataset.maxMb);

// as text, so that the name of a file is never taken for HTML
function say(kind, text) {
  const line = document.createElement("div");
  line.className = kind;
  line.textContent = text;
  result.replaceChildren(line);
}

async function ask(file) {
  if (file.size > maxMb * 1e6) {
    say("alarm", `No answer. ${file.name} has ${(file.size / 1e6).toFixed(1)} MB; up to ${maxMb} MB are taken.`);
    return;
  }
  input.disabled = true;
  say("soft", `Looking at ${file.name} …`);
  try {
    const response = await fetch("answer", { method: "POST", body: file });
    const html = await response.text();
    if (response.headers.get("content-type").startsWith("text/html")) {
      result.innerHTML = html; // the server has escaped it
      const name = document.createElement("p");
      name.className = "soft name";
      name.textContent = file.name;
      result.prepend(name);
    } else {
      say("alarm", `No answer. The server failed (${response.status}); its terminal says why.`);
    }
  } catch {
    say("alarm", "No answer. The server cannot be reached; has it been stopped, or the file been moved?");
  }
  input.disabled = false;
  input.value = ""; // so that the same file may be chosen again
}

function choose(files) {
  if (input.disabled) {
    return;
  }
  if (files.length === 1) {
    ask(files[0]);
  } else {
    say("alarm", files.length ? "One image at a time, please." : "That is no file; save the image first, then drop it.");
  }
}

input.addEventListener("change", () => choose(input.files));

// anywhere on the page: a browser would leave it to show a file that misses the field
for (const kind of ["dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.toggle("over", kind === "dragover");
  });
}
window.addEventListener("drop", (event) => choose(event.dataTransfer.files));
