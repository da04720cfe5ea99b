import Ledger
import Reporting
import Scheduling

/// The sweeps of the store, newest first.
struct SweepsPage {
  var sweeps: [SweepRecord]
  var counts: [String: [RunState: Int]]
  var isCoordinated: Bool
  var now: Double
  /// More than are shown.
  var hasMore: Bool

  static let limit = 200

  var html: String {
    var body: Markup = "<h1>Sweeps</h1>"
    if sweeps.isEmpty {
      body += "<p>No sweeps yet. Start one with: <code>rollcall run JOB</code></p>"
    } else {
      body += Part.table("Sweeps", ["sweep", "job", "verdict", "state", "runs", "started", "took"], sweeps.map(row))
    }
    if hasMore { body += "<p class=\"soft\">The newest \(Self.limit); <code>rollcall status</code> lists more.</p>" }
    return Frame(title: "Sweeps", place: .sweeps, body: body).html
  }

  private func row(_ sweep: SweepRecord) -> Markup {
    """
    <tr><th scope="row"><a href="\(link("sweeps", sweep.id))">\(sweep.id)</a></th>\
    <td><a href="\(link("history", sweep.job))">\(sweep.job)</a></td>\
    <td>\(Part.verdict(sweep.verdict))</td>\
    <td>\(Part.state(SweepView.state(sweep, isCoordinated: isCoordinated)))</td>\
    <td>\(SweepView.text(counts[sweep.id] ?? [:]))</td><td>\(Part.time(sweep.created))</td>\
    <td>\(Figures.duration((sweep.ended ?? now) - sweep.created))</td></tr>
    """
  }
}
