extension HostExamination {
  /// Reads what the host script's `check` says. Lines of a tool come as it prints them; columns are found by their
  /// names, since releases differ.
  init(lines: [Substring]) {
    var tables: [Substring: [Substring]] = [:]
    var attempts: [Int: String] = [:]
    var owners: [Int: String] = [:]
    for line in lines {
      let (word, rest) = line.firstWord
      let (first, second) = rest.firstWord
      switch word {
      case "memory":
        let bytes = Int(second).flatMap(Self.fromKibibytes)
        if first == "total" { totalMemory = bytes } else { availableMemory = bytes }
      case "user": user = Self.clean(rest)
      case "filesystem": fileSystem = Self.clean(rest)
      case "tool": tool = Self.clean(rest)
      case "python": python[String(first)] = Self.clean(second)
      case "lease": leases.append(Self.lease(rest))
      case "ours": if let pid = Int(first) { attempts[pid] = Self.clean(second) }
      case "owner": if let pid = Int(first), !second.isEmpty { owners[pid] = Self.clean(second) }
      case _ where word.hasSuffix("-failed"): troubles.append("\(word.dropLast(7)): \(Self.clean(second))")
      default: tables[word, default: []].append(rest)
      }
    }
    switch tool {
    case "nvidia-smi": readNVIDIA(tables["nvidia"] ?? [], tables["nvidia-app"] ?? [])
    case "amd-smi":
      readAMD(
        list: CommaTable(tables["amd-list"] ?? []), memory: CommaTable(tables["amd-memory"] ?? []),
        processes: CommaTable(tables["amd-process"] ?? []))
    case "rocm-smi": readROCm(CommaTable(tables["rocm"] ?? []), tables["rocm-process"] ?? [])
    default: break
    }
    // `python-failed` on a host without Python is no trouble: many engines bring their own.
    troubles.removeAll { $0.hasPrefix("python:") }
    for gpu in gpus.indices { Self.name(&gpus[gpu].processes, attempts, owners) }
    Self.name(&unplaced, attempts, owners)
  }

  private static func name(_ processes: inout [Process], _ attempts: [Int: String], _ owners: [Int: String]) {
    for index in processes.indices {
      processes[index].attempt = attempts[processes[index].pid]
      processes[index].user = owners[processes[index].pid]
    }
  }

  private static func lease(_ text: Substring) -> Lease {
    let (name, rest) = text.firstWord
    let (state, holder) = rest.firstWord
    var lease = Lease(name: clean(name), state: Lease.State(rawValue: String(state)) ?? .unknown)
    guard lease.state == .held, !holder.isEmpty else { return lease }
    let (attempt, owner) = holder.firstWord
    let (user, workdir) = owner.firstWord
    lease.attempt = clean(attempt)
    lease.user = user.isEmpty ? nil : clean(user)
    lease.workdir = workdir.isEmpty ? nil : clean(workdir)
    return lease
  }

  // MARK: - Tools

  private mutating func readNVIDIA(_ rows: [Substring], _ applications: [Substring]) {
    var others: [String] = []
    for row in rows {
      let fields = CommaTable.fields(row, limit: 5)
      guard fields.count == 5, fields[0].hasPrefix("GPU-") || fields[0].hasPrefix("MIG-") else {
        others.append(Self.clean(row))
        continue
      }
      gpus.append(
        GPU(
          id: fields[0], name: fields[4], usedBytes: Self.mebibytes(fields[1]), totalBytes: Self.mebibytes(fields[2]),
          utilisation: Int(fields[3])))
    }
    // A GPU that has dropped off the bus is told of in words, and the tool may call that a success.
    troubles += others.filter { !$0.isEmpty }.prefix(4).map { "nvidia: it says \($0) in the place of a GPU" }
    for row in applications {
      let fields = CommaTable.fields(row, limit: 4)
      guard fields.count == 4, let pid = Int(fields[1]) else { continue }
      add(Process(pid: pid, name: fields[3], memoryBytes: Self.mebibytes(fields[2])), to: fields[0])
    }
  }

  private mutating func readAMD(list: CommaTable, memory: CommaTable, processes: CommaTable) {
    for row in list.rows {
      guard let id = list["gpu", row], Int(id) != nil else { continue }
      gpus.append(GPU(id: id, name: list["market_name", row] ?? list["asic_serial", row] ?? "AMD"))
    }
    for row in memory.rows {
      guard let id = memory["gpu", row], Int(id) != nil else { continue }
      if !gpus.contains(where: { $0.id == id }) { gpus.append(GPU(id: id, name: "AMD")) }
      guard let index = gpus.firstIndex(where: { $0.id == id }) else { continue }
      gpus[index].totalBytes = memory["total_vram", row].flatMap(Self.mebibytes)
      gpus[index].usedBytes = memory["used_vram", row].flatMap(Self.mebibytes)
    }
    for row in processes.rows {
      guard let pid = processes["pid", row].flatMap({ Int($0) }) else { continue }
      add(
        Process(
          pid: pid, name: processes["name", row] ?? "?",
          memoryBytes: (processes["vram_mem", row] ?? processes["mem_usage", row]).flatMap(Self.bytes)),
        to: processes["gpu", row] ?? "")
    }
  }

  private mutating func readROCm(_ cards: CommaTable, _ processes: [Substring]) {
    for row in cards.rows {
      guard let device = cards["device", row], device.hasPrefix("card") else { continue }
      gpus.append(
        GPU(
          id: String(device.dropFirst(4)), name: cards["Card Series", row] ?? cards["Card series", row] ?? "AMD",
          usedBytes: cards["VRAM Total Used Memory (B)", row].flatMap { Int($0) },
          totalBytes: cards["VRAM Total Memory (B)", row].flatMap { Int($0) }))
    }
    // A table for people: PID, name, how many GPUs, bytes. Which GPUs they are it does not tell.
    for row in processes {
      let words = row.contains("\t") ? row.split(separator: "\t") : row.split(separator: " ")
      guard words.count >= 4, let pid = Int(Self.clean(words[0])) else { continue }
      unplaced.append(Process(pid: pid, name: Self.clean(words[1]), memoryBytes: Int(Self.clean(words[3]))))
    }
  }

  private mutating func add(_ process: Process, to gpu: String) {
    if let index = gpus.firstIndex(where: { $0.id == gpu }) {
      gpus[index].processes.append(process)
    } else {
      unplaced.append(process)
    }
  }

  // MARK: - Values

  private static func clean(_ text: Substring) -> String { CommaTable.clean(text) }

  private static func fromKibibytes(_ value: Int) -> Int? {
    let (bytes, overflow) = value.multipliedReportingOverflow(by: 1024)
    return overflow || value < 0 ? nil : bytes
  }

  private static func mebibytes(_ text: String) -> Int? {
    guard let value = text.split(separator: " ").first.flatMap({ Int($0) }) else { return nil }
    return fromKibibytes(value).flatMap(fromKibibytes)
  }

  /// `123`, `123 B`, `1.5 GB`, as amd-smi's releases write it.
  private static func bytes(_ text: String) -> Int? {
    let words = text.split(separator: " ")
    guard let number = words.first.flatMap({ Double($0) }) else { return nil }
    let units: [Substring: Double] = ["B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024, "MiB": 1_048_576]
    let value = number * (words.count > 1 ? units[words[1]] ?? 1 : 1)
    return value.isFinite && value >= 0 && value < 1e18 ? Int(value) : nil
  }
}

/// A table of values between commas whose first row names the columns.
struct CommaTable {
  private var columns: [String: Int] = [:]
  private(set) var rows: [[String]] = []

  init(_ lines: [Substring]) {
    guard let header = lines.first(where: { $0.contains(",") }) else { return }
    for (index, name) in Self.fields(header).enumerated() where columns[name] == nil { columns[name] = index }
    rows = lines.drop { $0 != header }.dropFirst().filter { $0.contains(",") }.map { Self.fields($0) }
  }

  /// A row's value in a column; nil where there is none, or none is told.
  subscript(_ column: String, _ row: [String]) -> String? {
    guard let index = columns[column], row.indices.contains(index) else { return nil }
    return row[index].isEmpty || row[index] == "N/A" ? nil : row[index]
  }

  /// - Parameter limit: The last field takes what is left.
  static func fields(_ line: Substring, limit: Int = 256) -> [String] {
    line.split(separator: ",", maxSplits: limit - 1, omittingEmptySubsequences: false).map { clean($0) }
  }

  /// Without blanks around it, quotes, and anything that a terminal obeys.
  static func clean(_ text: Substring) -> String {
    let kept = text.unicodeScalars.filter { scalar in
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
      default: scalar != "\""
      }
    }
    var clean = Substring(String(String.UnicodeScalarView(kept)))
    while clean.first?.isWhitespace == true { clean.removeFirst() }
    while clean.last?.isWhitespace == true { clean.removeLast() }
    return String(clean.prefix(300))
  }
}
