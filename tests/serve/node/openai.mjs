import OpenAI from "openai";

import { serve } from "./lines.mjs";

const [url, protocol] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "k", maxRetries: 0 });

const protocols = {
  async *chat(prompt, stream, signal) {
    const messages = [{ role: "user", content: prompt }];
    const answer = await client.chat.completions.create({ model: "m", messages, stream }, { signal });
    if (stream) for await (const chunk of answer) yield chunk.choices[0]?.delta.content;
    else yield answer.choices[0].message.content;
  },

  async *text(prompt, stream, signal) {
    const answer = await client.completions.create({ model: "m", prompt, stream }, { signal });
    if (stream) for await (const chunk of answer) yield chunk.choices[0]?.text;
    else yield answer.choices[0].text;
  },

  async *responses(prompt, stream, signal) {
    const answer = await client.responses.create({ model: "m", input: prompt, stream }, { signal });
    if (!stream) return yield answer.output_text;
    let last;
    for await (const event of answer) {
      last = event.type;
      if (last === "response.output_text.delta") yield event.delta;
    }
    if (last !== "response.completed" && !signal.aborted) throw new Error(`it ended with ${last}`);
  },
};

serve(protocols[protocol]);
