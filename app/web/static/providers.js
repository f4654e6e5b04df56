/** The buttons that lead to Discord or another provider: asks the server for the address, and goes there. */

import { request } from "./server.js";

export function offer(wish, complain) {
  for (const button of document.querySelectorAll("[data-provider]")) {
    button.onclick = async () => {
      button.disabled = true;
      try {
        location.assign((await request("POST", `/api/sign-in/${button.dataset.provider}`, wish())).url);
      } catch (error) {
        complain(error);
        button.disabled = false;
      }
    };
  }
}
