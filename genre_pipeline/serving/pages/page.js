"use strict";
// Comfort only: a form that tells of an event swaps the list in place, and says what changed. Without it, it reloads.
let fading;
const say = (text) => {
  const status = document.getElementById("status");
  status.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { status.textContent = ""; }, 12000);
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form.tell")) return;
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form));
  if (event.submitter) fields.set(event.submitter.name, event.submitter.value);
  for (const button of document.querySelectorAll("form.tell button")) button.disabled = true;
  tell(form.action, fields).catch(() => {
    say("The service does not answer. Nothing was changed on this page.");
    for (const button of document.querySelectorAll("form.tell button")) button.disabled = false;
  });
});

async function tell(address, fields) {
  const answer = await fetch(address, { method: "POST", body: fields });
  const kind = answer.headers.get("content-type") ?? "";
  if (!kind.startsWith("text/html")) {
    const { problem, remedy } = await answer.json();
    say(`${problem}. ${remedy}`);
    for (const button of document.querySelectorAll("form.tell button")) button.disabled = false;
    return;
  }
  const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  document.getElementById("main").replaceWith(document.adoptNode(next));
  const changed = document.querySelector("#changed p");
  document.getElementById("main").focus({ preventScroll: true });
  say(changed ? changed.textContent : next.textContent.trim().slice(0, 200));
}
