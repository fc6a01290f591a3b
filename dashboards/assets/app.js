// The part of the pages that runs in the browser: links without reload, theme, painting charts, drag to explain.
(() => {
  "use strict";
  const root = document.documentElement;

  // -- The address is the state: a link changes it, the callbacks read it -----------------------------------------

  const go = (address) => {
    history.pushState({}, "", address);
    dispatchEvent(new CustomEvent("_dashprivate_pushstate")); // what dcc.Location listens to
  };

  addEventListener("click", (event) => {
    const link = event.target.closest("a[data-page]");
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target) || link) menu.open = false;
    }
    if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const moved = link.pathname !== location.pathname;
    go(link.href);
    if (moved) {
      scrollTo(0, 0);
      document.getElementById("page").focus({ preventScroll: true });
    }
  });

  // -- Into the clipboard: an address, or what is at one; the browser wants it begun at the very click --------------

  const copied = async (read, done, otherwise) => {
    try {
      const text = read().then((words) => new Blob([words], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
      return done;
    } catch {
      return otherwise;
    } finally {
      setTimeout(() => window.dash_clientside.set_props("toast", { children: "" }), 2600);
    }
  };

  const textAt = async (address) => {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${response.status} from ${address}`);
    return response.text();
  };

  addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const read = () => textAt(button.dataset.copy);
    const children = await copied(read, "Post-mortem copied", "It could not be copied: download it instead");
    window.dash_clientside.set_props("toast", { children });
  });

  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // -- A refresh replaces parts of the page: a link that had the focus keeps it. The heading is the title of the tab ---

  let focused = null;
  let focusedAddress = null;
  addEventListener("focusin", ({ target }) => {
    focused = target;
    const href = target.getAttribute("href");
    focusedAddress = target.id ? `#${CSS.escape(target.id)}` : href && `${target.tagName}[href="${CSS.escape(href)}"]`;
  });
  addEventListener("focusout", ({ target }) => {
    setTimeout(() => {
      if (target === focused && target.isConnected) focused = null; // left by the person, not taken away by a refresh
    });
  });

  // A row of a table that the address names (`/slos#chat-ttft`) is there only after the first answer.
  let broughtIntoView = null;
  const bringIntoView = () => {
    if (!location.hash || broughtIntoView === location.href) return;
    const row = document.querySelector(`main tr#${CSS.escape(decodeURIComponent(location.hash.slice(1)))}`);
    if (!row) return;
    broughtIntoView = location.href;
    row.classList.add("named-row");
    row.scrollIntoView({ block: "center" });
  };

  new MutationObserver(() => {
    if (focused && !focused.isConnected && document.activeElement === document.body && focusedAddress) {
      document.querySelector(focusedAddress)?.focus({ preventScroll: true });
    }
    const heading = document.querySelector("main h1")?.textContent;
    bringIntoView();
    const title = heading ? `${heading} · Tailsight` : "Tailsight";
    if (document.title !== title) document.title = title;
  }).observe(document.body, { childList: true, subtree: true });

  // A slider stops at words, not at numbers: the one it stands at is said while it moves, to a screen reader too.
  const sayStop = (input) => {
    const slider = input.closest?.(".slider[data-stops]");
    if (!slider || input.type !== "range") return;
    const stop = JSON.parse(slider.dataset.stops)[Number(input.value)] ?? "";
    slider.querySelector("output").textContent = stop;
    input.setAttribute("aria-valuetext", stop);
  };
  for (const kind of ["input", "focusin"]) addEventListener(kind, ({ target }) => sayStop(target));

  // A tab that nobody sees need not refresh.
  document.addEventListener("visibilitychange", () => {
    window.dash_clientside.set_props("tick", { disabled: document.hidden });
  });

  // -- A page that cannot reach its server says so ------------------------------------------------------------------

  const fetchAsBefore = window.fetch.bind(window);

  // Of several requests that fail together the first asks.
  let askedWhyAt = -Infinity;
  const sayWhy = async () => {
    if (performance.now() - askedWhyAt < 5000) return;
    askedWhyAt = performance.now();
    const answer = await fetchAsBefore("/readyz").then((response) => response.json()).catch(() => null);
    const store = answer?.checks?.find((check) => check.name === "store" && !check.ok);
    const why = store ? store.detail.charAt(0).toUpperCase() + store.detail.slice(1) : "The server could not answer";
    document.getElementById("why-failing").textContent = `${why}.`;
  };

  window.fetch = async (...request) => {
    try {
      const response = await fetchAsBefore(...request);
      root.dataset.connection = response.status >= 500 ? "failing" : "up";
      if (response.status >= 500) sayWhy();
      if (response.status === 401) location.reload(); // the server then asks to sign in
      return response;
    } catch (error) {
      if (error.name !== "AbortError") root.dataset.connection = "lost";
      throw error;
    }
  };

  // -- Colours: figures name tokens, the style sheet of the theme has the values ------------------------------------

  const token = (styles, name) => styles.getPropertyValue(`--${name}`).trim();

  const faded = (hex, alpha) => {
    const channel = (start) => parseInt(hex.slice(start, start + 2), 16);
    return `rgba(${channel(1)}, ${channel(3)}, ${channel(5)}, ${alpha})`;
  };

  // "$name", "$name/alpha", or "$scale-name/power": colours spread over 0 to 1 by that power.
  const colour = (styles, text) => {
    const [name, modifier] = text.slice(1).split("/");
    if (!name.startsWith("scale-")) {
      const hex = token(styles, name);
      return modifier === undefined ? hex : faded(hex, Number(modifier));
    }
    const steps = token(styles, name).split(",").map((step) => step.trim());
    return steps.map((step, index) => [(index / (steps.length - 1)) ** Number(modifier ?? 1), step]);
  };

  const coloured = (styles, value) => {
    if (typeof value === "string") return /^\$[a-z]/.test(value) ? colour(styles, value) : value; // "$312" is money
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map((item) => coloured(styles, item));
    }
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(styles, item)]));
  };

  // On a phone, labels at the right end would leave no room for the lines (some have a twin for it), and a finger on a
  // chart is meant to scroll the page.
  const fitted = (figure) => {
    const { annotations = [], margin, meta } = figure.layout;
    const narrow = matchMedia("(max-width: 760px)").matches;
    const unfit = narrow && meta.narrow_margin_right !== undefined ? "end" : "narrow";
    const layout = { ...figure.layout, annotations: annotations.filter((note) => note.name !== unfit) };
    if (narrow) layout.dragmode = false;
    if (unfit === "end") layout.margin = { ...margin, r: meta.narrow_margin_right };
    return { ...figure, layout };
  };

  const SETTLED_MS = 250;
  let settling = 0;

  window.dash_clientside = window.dash_clientside ?? {};
  window.dash_clientside.tailsight = {
    // A figure as the server made it, in the colours of the theme; its label and its height.
    paint(figure) {
      const { no_update: asBefore } = window.dash_clientside;
      if (!figure) return [asBefore, asBefore, asBefore, asBefore];
      const { label, empty, height } = figure.layout.meta;
      const painted = coloured(getComputedStyle(root), fitted(figure));
      return [painted, label, empty ?? "", height ? { "--chart-height": `${height}px` } : asBefore];
    },

    // The theme in use; a click on the button changes it.
    theme(clicks) {
      if (clicks) {
        root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
        try {
          localStorage.setItem("tailsight-theme", root.dataset.theme);
        } catch {
          // Storage may be forbidden; the choice then lasts until the page is left.
        }
      }
      return root.dataset.theme;
    },

    // A drag across a chart asks for the explanation of that window: it goes into the address.
    explain(moved) {
      const selection = moved?.selections?.[0];
      if (!selection || selection.x0 === undefined) return;
      const [from, to] = [selection.x0, selection.x1]
        .map((text) => new Date(`${String(text).replace(" ", "T")}Z`))
        .sort((a, b) => a - b);
      if (!(to - from >= 1000)) return;
      const second = (moment) => `${moment.toISOString().slice(0, 19)}Z`;
      const search = new URLSearchParams(location.search);
      search.set("explain", `${second(from)}~${second(to)}`);
      go(`${location.pathname}?${search.toString().replaceAll("%3A", ":").replaceAll("%7E", "~")}`);
    },

    // What several inputs say, once nobody has touched them for a moment.
    settled(...values) {
      const { no_update: asBefore } = window.dash_clientside;
      const turn = ++settling;
      return new Promise((resolve) => {
        setTimeout(() => resolve(turn === settling ? values : asBefore), SETTLED_MS);
      });
    },

    copy_link(clicks) {
      if (!clicks) return window.dash_clientside.no_update;
      const otherwise = "The browser did not allow copying: copy the address instead";
      return copied(async () => location.href, "Link copied", otherwise);
    },
  };
})();
