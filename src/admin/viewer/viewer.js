// Lists the latest traces, each a link to what it is made of.
const { traces } = await (await fetch("/api/traces")).json();
document.getElementById("traces").replaceChildren(...traces.map((trace) => {
  const link = document.createElement("a");
  link.href = `/api/traces/${trace.trace_id}`;
  link.textContent = `${trace.start} ${trace.title} (${trace.spans})`;
  const item = document.createElement("li");
  item.append(link);
  return item;
}));
