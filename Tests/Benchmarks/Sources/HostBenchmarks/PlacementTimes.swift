import Scheduling

/// 1,000 hosts of 8 GPUs, and runs of 1, 4, 8 and 2 × 8 GPUs that wait for them: how long one event, one pass over all
/// that waits, and 8,000 placements take. Prints one JSON line; times in milliseconds.
func placement(queued: Int) {
  let clock = ContinuousClock()
  let hosts = (0..<1000).map { Placement.Host(name: "h\($0)", totalGPUs: 8, freeGPUs: 8, hardware: "H200") }
  func run(_ index: Int, gpus: Int, nodes: Int = 1) -> Placement.QueuedRun {
    Placement.QueuedRun(
      id: "r\(index)", gpus: gpus, nodes: nodes, order: index, sweep: "s\(index % 4)",
      timeLimit: Double(600 + index % 7))
  }
  let shapes = [(1, 1), (4, 1), (8, 1), (8, 2)]

  // An empty fleet takes 8,000 runs of one GPU.
  var empty = Scheduler(hosts: hosts)
  for index in 0..<8000 { empty.add(run(index, gpus: 1)) }
  var placed = 0
  let filling = clock.measure { placed = empty.decide(now: 0).count }

  // A full fleet, and a queue: each event is one run that ends, one that comes, and the pass that follows.
  var full = Scheduler(hosts: hosts)
  for index in 0..<(queued + 2500) {
    let (gpus, nodes) = shapes[index % shapes.count]
    full.add(run(index, gpus: gpus, nodes: nodes))
  }
  var running: [String] = []
  let first = clock.measure { running = full.decide(now: 0).compactMap(\.placed) }
  var events: [Duration] = []
  var passes: [Duration] = []
  var next = queued + 2500
  for step in 0..<1000 {
    let ended = running.remove(at: (step * 7919) % running.count)
    let (gpus, nodes) = shapes[next % shapes.count]
    events.append(
      clock.measure {
        full.release(ended)
        full.add(run(next, gpus: gpus, nodes: nodes))
      })
    next += 1
    passes.append(clock.measure { running += full.decide(now: Double(step)).compactMap(\.placed) })
  }
  events.sort()
  passes.sort()
  let times = [
    ("place_8000", filling), ("first_pass", first), ("event_median", events[500]), ("event_p99", events[989]),
    ("pass_median", passes[500]), ("pass_p99", passes[989]),
  ]
  let text = times.map { "\"\($0.0)\": \($0.1 / .milliseconds(1))" }.joined(separator: ", ")
  print("{\"hosts\": 1000, \"queued\": \(full.queuedCount), \"placed\": \(placed), \(text)}")
}

extension Placement.Decision {
  fileprivate var placed: String? {
    if case .place(let run, _, _) = self { run } else { nil }
  }
}
