import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

import { serve } from "./lines.mjs";

const [url, protocol] = process.argv.slice(2);
const settings = { baseURL: `${url}/v1`, apiKey: "k" };
const openai = createOpenAI(settings);

const models = {
  chat: () => openai.chat("m"),
  text: () => openai.completion("m"),
  responses: () => openai.responses("m"),
  compatible: () => createOpenAICompatible({ ...settings, name: "semcache" })("m"),
};

const model = models[protocol]();

serve(async function* (prompt, stream, abortSignal) {
  const asked = { model, prompt, abortSignal, maxRetries: 0 };
  if (!stream) return yield (await generateText(asked)).text;
  for await (const part of streamText({ ...asked, onError() {} }).fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") yield part.text;
  }
});
