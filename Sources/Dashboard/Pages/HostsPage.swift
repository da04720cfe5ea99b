import Ledger
import Reporting

/// The hosts of the newest sweeps' fleets, as the store knows them; no host is asked.
struct HostsPage {
  var hosts: [HostView]

  var html: String {
    var body: Markup = "<h1>Hosts</h1>"
    if hosts.isEmpty {
      body += "<p>No sweep has named a host yet.</p>"
    } else {
      body += "<p class=\"soft\">As the last runs found them; <code>rollcall hosts</code> asks them anew.</p>"
      body += Part.table(
        "Hosts", ["host", "address", "GPUs held", "runs", "labels", "environment", "last heard", "drained"],
        hosts.map(row))
    }
    return Frame(title: "Hosts", place: .hosts, body: body).html
  }

  private func row(_ host: HostView) -> Markup {
    let runs = host.holding.prefix(8).map { attempt -> Markup in
      "<a href=\"\(link("sweeps", attempt.sweep, "runs", attempt.run))\">\(attempt.run)</a>"
    }
    let labels = host.labels.map { "\($0.0)=\($0.1)" }.joined(separator: " ")
    let facts = host.facts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: " · ")
    let total = host.gpuCount.map(String.init) ?? "?"
    let meter: Markup =
      host.gpuCount.map { count in
        (1...64).contains(count)
          ? "<meter min=\"0\" max=\"\(count)\" value=\"\(min(host.gpusHeld, count))\" aria-hidden=\"true\"></meter> "
          : ""
      } ?? ""
    let more: Markup = host.holding.count > 8 ? ", and \(host.holding.count - 8) more" : ""
    let drained = host.drained.map { "drained" + ($0.why.map { ": \($0)" } ?? "") } ?? ""
    return """
      <tr><th scope="row">\(host.name)</th><td>\(host.address)</td><td>\(meter)\(host.gpusHeld) of \(total)</td>\
      <td>\(runs.isEmpty ? "–" : runs.joined(by: ", "))\(more)</td><td>\(labels)</td><td class="small">\(facts)</td>\
      <td>\(Part.time(host.lastHeard))</td><td>\(drained)</td></tr>
      """
  }
}
