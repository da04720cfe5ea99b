import DequeModule

/// Runs that wait, in lines: those of one sweep, priority and shape stand behind one another, so that a look at the
/// first of each line is a look at all.
struct RunQueue: Sendable {
  /// What the runs of a line have in common.
  struct Key: Hashable, Sendable {
    var sweep: String
    var priority: Int
    var comparison: String?
    var timeLimit: Double?
    /// Without the hardware class, which is chosen later.
    var shape: Shape

    init(_ run: Placement.QueuedRun) {
      sweep = run.sweep
      priority = run.priority
      comparison = run.comparison
      timeLimit = run.timeLimit
      shape = Shape(run, hardware: nil)
    }
  }

  struct Line: Sendable {
    var key: Key
    /// Oldest first; runs that were taken out from the middle stay until they come to the front.
    fileprivate var runs: Deque<Placement.QueuedRun> = []
    /// Runs that wait.
    fileprivate(set) var count = 0

    /// The run that is next: there is one.
    var head: Placement.QueuedRun { runs[0] }
  }

  /// By number; a line that runs dry is gone.
  private(set) var lines: [Int: Line] = [:]
  private var numbers: [Key: Int] = [:]
  private var lineOfRun: [String: Int] = [:]
  private var nextNumber = 0

  var count: Int { lineOfRun.count }

  mutating func add(_ run: Placement.QueuedRun) {
    guard lineOfRun[run.id] == nil else { return }
    let key = Key(run)
    let number = numbers[key] ?? nextNumber
    if number == nextNumber {
      nextNumber += 1
      numbers[key] = number
      lines[number] = Line(key: key)
    }
    lineOfRun[run.id] = number
    lines[number]?.runs.enter(run)
    lines[number]?.count += 1
  }

  mutating func remove(_ id: String) {
    guard let number = lineOfRun.removeValue(forKey: id), var line = lines[number] else { return }
    lines[number] = nil
    line.count -= 1
    while let first = line.runs.first, lineOfRun[first.id] == nil { line.runs.removeFirst() }
    if line.runs.isEmpty { numbers[line.key] = nil } else { lines[number] = line }
  }

  /// The next run of a line and what its runs have in common. Whoever holds a line itself has all of it copied by the
  /// next change.
  func front(of number: Int) -> (run: Placement.QueuedRun, key: Key)? {
    lines[number].map { ($0.head, $0.key) }
  }

  func line(of id: String) -> Line? { lineOfRun[id].flatMap { lines[$0] } }

  func runs(of line: Line) -> [Placement.QueuedRun] { line.runs.filter { lineOfRun[$0.id] != nil } }

  /// Older first.
  static func isBefore(_ a: Placement.QueuedRun, _ b: Placement.QueuedRun) -> Bool {
    (a.order, a.id) < (b.order, b.id)
  }
}

extension Deque<Placement.QueuedRun> {
  /// Puts a run behind those that are older: mostly the youngest comes last.
  fileprivate mutating func enter(_ run: Placement.QueuedRun) {
    var place = count
    while place > 0, RunQueue.isBefore(run, self[place - 1]) { place -= 1 }
    insert(run, at: place)
  }
}
