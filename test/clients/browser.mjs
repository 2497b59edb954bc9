// browser.mjs CHROMIUM PAGE FILE: opens PAGE, which is another origin's than the API, gives FILE to its form, and prints what the page
// says once it has uploaded it.
import puppeteer from "puppeteer-core";

const [executablePath, page, file] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
try {
  const tab = await browser.newPage();
  const complaints = [];
  tab.on("console", (message) => complaints.push(message.text()));
  tab.on("pageerror", (error) => complaints.push(String(error)));
  await tab.goto(page);
  await (await tab.$("input[type=file]")).uploadFile(file);
  await tab.waitForFunction(() => document.title === "done" || document.title === "failed", { timeout: 30000 });
  console.log(JSON.stringify({ title: await tab.title(), said: await tab.$eval("pre", (e) => e.textContent), complaints }));
} finally {
  await browser.close();
}
