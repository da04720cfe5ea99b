/// A zip of any pickle and four records of numbers; no checksums are recorded.
enum HonestZip {
  static func file(pickle: UnsafeRawBufferPointer) -> [UInt8] {
    var bytes: [UInt8] = []
    var directory: [UInt8] = []
    let numbers = [UInt8](repeating: 7, count: 64)
    let records = [("data.pkl", Array(pickle))] + (0..<4).map { ("data/\($0)", numbers) }
    for (record, data) in records {
      let name = Array("x/\(record)".utf8)
      let start = bytes.count
      bytes += little(0x0403_4B50, 4) + little(0, 2) + little(0x0800, 2) + little(0, 10)
      bytes += little(data.count, 4) + little(data.count, 4) + little(name.count, 2) + little(0, 2) + name + data
      directory += little(0x0201_4B50, 4) + little(0, 4) + little(0x0800, 2) + little(0, 10)
      directory += little(data.count, 4) + little(data.count, 4) + little(name.count, 2)
      directory += little(0, 12) + little(start, 4) + name
    }
    let place = bytes.count
    bytes += directory + little(0x0605_4B50, 4) + little(0, 4) + little(records.count, 2) + little(records.count, 2)
    return bytes + little(directory.count, 4) + little(place, 4) + little(0, 2)
  }

  private static func little(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { $0 < 8 ? UInt8((value >> (8 * $0)) & 255) : 0 }
  }
}
