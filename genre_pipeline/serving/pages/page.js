"use strict";
// Comfort only: record a view from the page and show the list that follows from it.
const status = document.getElementById("status");

async function record(button) {
  button.disabled = true;
  const event = { user_id: button.dataset.user, item_id: button.dataset.item, event: "view" };
  const answer = await fetch("/v1/events", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ events: [event] }),
  });
  const body = await answer.json();
  if (!answer.ok) {
    status.textContent = `${body.problem}. ${body.remedy}`;
    button.disabled = false;
    return;
  }
  window.location.reload();
}

for (const button of document.querySelectorAll("button.saw")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    record(button).catch(() => {
      status.textContent = "The service does not answer.";
      button.disabled = false;
    });
  });
}
