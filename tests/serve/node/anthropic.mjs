import Anthropic from "@anthropic-ai/sdk";

import { serve } from "./lines.mjs";

const [url] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: "k", maxRetries: 0 });

serve(async function* (prompt, stream, signal) {
  const asked = { model: "m", max_tokens: 1000, messages: [{ role: "user", content: prompt }] };
  if (!stream) {
    const answer = await client.messages.create(asked, { signal });
    return yield answer.content.map((block) => block.text ?? "").join("");
  }
  const events = client.messages.stream(asked, { signal });
  for await (const event of events)
    if (event.type === "content_block_delta" && event.delta.type === "text_delta")
      yield event.delta.text;
  await events.finalMessage();
});
