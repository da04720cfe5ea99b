/// Writes small zip files without compression, honest ones and others.
enum StoredZip {
  enum Lie: String, CaseIterable {
    case overlap
    case sameNameTwice
    case pickleMissing
    case twoPickles
    case sizeBeyondFile
    case headerBeyondFile
    case headerElsewhere
    case encrypted
    case moreRecords
    case fewerRecords
    case contradictingZip64
  }

  /// - Parameter comment: bytes after the directory's end.
  static func file(
    _ records: [(name: String, data: [UInt8])], lie: Lie? = nil, comment: [UInt8] = []
  ) -> [UInt8] {
    var records = records
    switch lie {
    case .sameNameTwice: records.append(records[1])
    case .pickleMissing: records.removeFirst()
    case .twoPickles: records.append(("y/data.pkl", records[0].data))
    default: break
    }
    var out: [UInt8] = []
    var directory: [UInt8] = []
    var starts: [Int] = []
    for (i, record) in records.enumerated() {
      starts.append(out.count)
      let name = Array(record.name.utf8)
      out += little(0x0403_4B50, 4) + little(0, 2) + little(0x0808, 2) + little(0, 18) + little(name.count, 2)
      out += little(0, 2) + name + record.data
      var start = starts[i]
      var size = record.data.count
      switch lie {
      case .overlap where i == 1: start = starts[0]
      case .sizeBeyondFile where i == 1: size = 1 << 30
      case .headerBeyondFile where i == 1: start = 1 << 30
      case .headerElsewhere where i == 1: start += 1
      default: break
      }
      directory += little(0x0201_4B50, 4) + little(0, 4) + little(lie == .encrypted ? 1 : 0x0808, 2) + little(0, 10)
      directory += little(size, 4) + little(size, 4) + little(name.count, 2) + little(0, 12) + little(start, 4) + name
    }
    let place = out.count
    out += directory
    let count = records.count + (lie == .moreRecords ? 1 : lie == .fewerRecords ? -1 : 0)
    if lie == .contradictingZip64 {
      let end = out.count
      out += little(0x0606_4B50, 4) + little(44, 8) + little(0, 12) + little(count, 8) + little(count, 8)
      out += little(directory.count, 8) + little(place + 1, 8)
      out += little(0x0706_4B50, 4) + little(0, 4) + little(end, 8) + little(1, 4)
    }
    out += little(0x0605_4B50, 4) + little(0, 4) + little(count, 2) + little(count, 2) + little(directory.count, 4)
    return out + little(place, 4) + little(comment.count, 2) + comment
  }

  private static func little(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { $0 < 8 ? UInt8((value >> (8 * $0)) & 255) : 0 }
  }
}
