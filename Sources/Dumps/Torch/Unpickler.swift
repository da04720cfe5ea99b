/// Interprets a pickle (protocols 2 to 5) and builds data only.
///
/// No name is imported and nothing is called: the functions and classes that tensors need are understood by name
/// (`Unpickler+Torch.swift`), and everything else becomes an opaque value with its name, whatever its arguments.
/// The work is bounded by the number of bytes, the memory by ``PickleBudget``.
struct Unpickler {
  let bytes: [UInt8]
  let file: String
  /// Where the pickle stands in the file, for messages.
  let base: Int
  var contents = PickleContents()

  private var position = 0
  /// True after an attempt to read behind the last byte.
  private var endedEarly = false
  /// Where the opcode at work stands.
  private var opcodeStart = 0
  private var stack: [PickleValue] = []
  private var marks: [Int] = []
  /// What was remembered under 0, 1, 2, …, as picklers count.
  private var memo: [PickleValue] = []
  /// What was remembered under other numbers.
  private var sparseMemo: [Int: PickleValue] = [:]
  private var globalIndex: [PickleGlobal: Int] = [:]
  /// Byte strings that were written as text, by where the text begins, nil for a text that is none: each is looked
  /// through once.
  var encodedTexts: [UInt32: Int?] = [:]

  init(bytes: [UInt8], file: String, base: Int, budget: PickleBudget) {
    self.bytes = bytes
    self.file = file
    self.base = base
    contents.budget = budget
  }

  static func contents(of bytes: [UInt8], file: String, base: Int) throws(DumpError) -> PickleContents {
    var unpickler = Unpickler(bytes: bytes, file: file, base: base, budget: PickleBudget())
    try unpickler.run()
    guard unpickler.position == bytes.count else { throw unpickler.malformed("bytes follow its end") }
    return unpickler.contents
  }

  /// The pickle that `bytes` begin with, and how many of them are its own; nil where it goes on behind them.
  ///
  /// - Parameter budget: what the pickles before it in the file left.
  static func prefix(
    of bytes: [UInt8], file: String, base: Int, budget: PickleBudget
  ) throws(DumpError) -> (contents: PickleContents, byteCount: Int)? {
    var unpickler = Unpickler(bytes: bytes, file: file, base: base, budget: budget)
    do throws(DumpError) {
      try unpickler.run()
      return (unpickler.contents, unpickler.position)
    } catch {
      guard unpickler.endedEarly else { throw error }
      return nil
    }
  }

  func malformed(_ message: String) -> DumpError {
    DumpError(code: .malformed, file: file, at: .byte(base + opcodeStart), message: "in the pickle: \(message)")
  }

  var tooMuch: DumpError {
    DumpError(code: .limit, file: file, at: .byte(base + opcodeStart), message: PickleBudget.refusal)
  }

  private mutating func run() throws(DumpError) {
    while true {
      opcodeStart = position
      let opcode = try byte()
      guard opcode != UInt8(ascii: ".") else { break }
      try makeRoom()
      try execute(opcode)
      if contents.budget.isSpent { throw tooMuch }
    }
    contents.root = try pop()
    guard stack.isEmpty, marks.isEmpty else { throw malformed("values are left over at its end") }
  }

  /// Room in every table for what one instruction can add.
  private mutating func makeRoom() throws(DumpError) {
    var budget = contents.budget
    defer { contents.budget = budget }
    guard budget.makeRoom(in: &stack, for: 4), budget.makeRoom(in: &marks, for: 4), budget.makeRoom(in: &memo, for: 4),
      budget.makeRoom(in: &contents.sequences, for: 4), budget.makeRoom(in: &contents.dictionaries, for: 4),
      budget.makeRoom(in: &contents.globals, for: 4), budget.makeRoom(in: &contents.storages, for: 4),
      budget.makeRoom(in: &contents.tensors, for: 4), budget.makeRoom(in: &contents.objects, for: 4),
      budget.makeRoom(in: &contents.byteStrings, for: 4)
    else { throw tooMuch }
  }

  private mutating func execute(_ opcode: UInt8) throws(DumpError) {
    switch opcode {
    case 0x80:  // PROTO
      let version = try byte()
      guard (2...5).contains(version) else { throw malformed("protocol \(version) is not one of 2 to 5") }
    case 0x95: _ = try take(8)  // FRAME: only a hint for readers of streams
    case UInt8(ascii: "N"): stack.append(.none)
    case 0x88: stack.append(.bool(true))
    case 0x89: stack.append(.bool(false))
    case UInt8(ascii: "K"): stack.append(.int(Int(try byte())))
    case UInt8(ascii: "M"): stack.append(.int(Int(try number(UInt16.self))))
    case UInt8(ascii: "J"): stack.append(.int(Int(try number(Int32.self))))
    case 0x8A: try pushLong(count: Int(try byte()))
    case 0x8B: try pushLong(count: Int(try number(Int32.self)))
    case UInt8(ascii: "G"): stack.append(.double(Double(bitPattern: try number(UInt64.self).byteSwapped)))
    case 0x8C: try pushText(count: UInt64(try byte()))
    case UInt8(ascii: "X"): try pushText(count: UInt64(try number(UInt32.self)))
    case 0x8D: try pushText(count: try number(UInt64.self))
    case UInt8(ascii: "U"), UInt8(ascii: "C"): try pushBytes(count: UInt64(try byte()), isText: opcode == 0x55)
    case UInt8(ascii: "T"), UInt8(ascii: "B"):
      try pushBytes(count: UInt64(try number(UInt32.self)), isText: opcode == 0x54)
    case 0x8E, 0x96: try pushBytes(count: try number(UInt64.self), isText: false)

    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "0"): if stack.count == marks.last { marks.removeLast() } else { _ = try pop() }
    case UInt8(ascii: "1"): _ = try popToMark()
    case UInt8(ascii: "2"): stack.append(try top())
    case UInt8(ascii: ")"): stack.append(.tuple(newSequence([])))
    case 0x85: try pushTuple(1)
    case 0x86: try pushTuple(2)
    case 0x87: try pushTuple(3)
    case UInt8(ascii: "t"): stack.append(.tuple(newSequence(try popToMark())))
    case UInt8(ascii: "]"): stack.append(.list(newSequence([])))
    case UInt8(ascii: "l"): stack.append(.list(newSequence(try popToMark())))
    case 0x8F: stack.append(.set(newSequence([])))
    case 0x91: stack.append(.set(newSequence(try popToMark())))
    case UInt8(ascii: "}"): stack.append(.dictionary(newDictionary()))
    case UInt8(ascii: "d"):
      let items = try popToMark()
      let dictionary = PickleValue.dictionary(newDictionary())
      try insert(items, into: dictionary)
      stack.append(dictionary)
    case UInt8(ascii: "a"):
      let item = try pop()
      try append([item], to: try top())
    case UInt8(ascii: "e"), 0x90:
      let items = try popToMark()
      try append(items, to: try top())
    case UInt8(ascii: "s"):
      let value = try pop()
      let key = try pop()
      try insert([key, value], into: try top())
    case UInt8(ascii: "u"):
      let items = try popToMark()
      try insert(items, into: try top())

    case UInt8(ascii: "q"): try remember(Int(try byte()))
    case UInt8(ascii: "r"): try remember(Int(try number(UInt32.self)))
    case 0x94: try remember(memo.count + sparseMemo.count)
    case UInt8(ascii: "h"): try recall(Int(try byte()))
    case UInt8(ascii: "j"): try recall(Int(try number(UInt32.self)))

    case UInt8(ascii: "c"):
      let module = try line()
      stack.append(global(module, try line()))
    case 0x93:  // STACK_GLOBAL
      guard case .string(let name, _) = try pop(), case .string(let module, _) = try pop(),
        name.utf8.count <= Self.nameLimit, module.utf8.count <= Self.nameLimit
      else { throw malformed("the name of a global is no text, or too long a one") }
      stack.append(global(module, name))
    case UInt8(ascii: "Q"):
      let id = try pop()
      stack.append(try storage(persistentID: id))
    case UInt8(ascii: "R"), 0x81:  // REDUCE, NEWOBJ
      let arguments = try pop()
      let callee = try pop()
      stack.append(try rebuild(callee, arguments))
    case 0x92:  // NEWOBJ_EX
      _ = try pop()
      let arguments = try pop()
      let callee = try pop()
      stack.append(try rebuild(callee, arguments))
    case UInt8(ascii: "b"):
      // State. What tensors need is in their arguments; what else has state is opaque, or says how a tensor is sharded.
      let state = try pop()
      if case .object(let index) = try top() {
        contents.objects[index].state = state
        setNumPyState(state, ofObject: index)
      }
    default:
      throw DumpError(
        code: .unsupported, file: file, at: .byte(base + opcodeStart),
        message: "the pickle has the instruction 0x\(String(opcode, radix: 16)), which no tensor dump needs")
    }
  }

  // MARK: Bytes

  private mutating func take(_ count: Int) throws(DumpError) -> Range<Int> {
    guard count >= 0, count <= bytes.count - position else {
      endedEarly = count >= 0
      throw DumpError(
        code: .malformed, file: file, at: .byte(base + bytes.count), message: "the pickle ends in a value")
    }
    defer { position += count }
    contents.budget.earn(count)
    return position..<(position + count)
  }

  private mutating func byte() throws(DumpError) -> UInt8 { bytes[try take(1).lowerBound] }

  private mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) throws(DumpError) -> Number {
    bytes.littleEndian(try take(MemoryLayout<Number>.size).lowerBound, type)
  }

  private static let nameLimit = 4096

  private mutating func line() throws(DumpError) -> String {
    // No module path is longer; without a bound every GLOBAL could cost a scan of the whole pickle.
    let limit = min(bytes.count, position + Self.nameLimit)
    guard let end = bytes[position..<limit].firstIndex(of: UInt8(ascii: "\n")) else {
      endedEarly = limit == bytes.count
      throw malformed("the name of a global does not end")
    }
    defer { position = end + 1 }
    contents.budget.earn(end + 1 - position)
    return String(decoding: bytes[position..<end], as: UTF8.self)
  }

  private mutating func pushText(count: UInt64) throws(DumpError) {
    guard let count = Int(exactly: count) else { throw malformed("a text of \(count) bytes") }
    // Python writes lone surrogates as they are; such text is repaired, for it is only a name.
    let range = try take(count)
    stack.append(.string(try text(range), at: UInt32(exactly: range.lowerBound)))
  }

  /// What is no UTF-8 becomes three bytes each, once: the budget counts them after.
  private mutating func text(_ range: Range<Int>) throws(DumpError) -> String {
    guard range.count <= contents.budget.left else { throw tooMuch }
    let text = String(decoding: bytes[range], as: UTF8.self)
    contents.budget.take(text: text.utf8.count)
    return text
  }

  private mutating func pushBytes(count: UInt64, isText: Bool) throws(DumpError) {
    guard let count = Int(exactly: count) else { throw malformed("a byte string of \(count) bytes") }
    let range = try take(count)
    if isText {
      stack.append(.string(try text(range), at: nil))
    } else {
      stack.append(.bytes(newByteString(PickleBytes(range: range, count: count, isText: false))))
    }
  }

  private mutating func pushLong(count: Int) throws(DumpError) {
    let range = try take(count)
    guard count <= 8 else {
      stack.append(opaque(PickleGlobal(module: "builtins", name: "int (beyond 64 bits)")))
      return
    }
    var value = 0
    for (i, byte) in bytes[range].enumerated() { value |= Int(byte) << (8 * i) }
    if count > 0, count < 8, bytes[range.upperBound - 1] & 0x80 != 0 { value -= 1 << (8 * count) }
    stack.append(.int(value))
  }

  // MARK: Stack and tables

  private func top() throws(DumpError) -> PickleValue {
    guard let value = stack.last, stack.count > marks.last ?? 0 else { throw malformed("its stack is empty") }
    return value
  }

  private mutating func pop() throws(DumpError) -> PickleValue {
    let value = try top()
    stack.removeLast()
    return value
  }

  private mutating func popToMark() throws(DumpError) -> [PickleValue] {
    guard let mark = marks.popLast() else { throw malformed("a mark is missing") }
    return try pop(stack.count - mark)
  }

  /// The last items of the stack in an array of just their size: made from a slice it could be the stack's own, with
  /// all the room that the stack ever had.
  private mutating func pop(_ count: Int) throws(DumpError) -> [PickleValue] {
    guard count <= contents.budget.left / MemoryLayout<PickleValue>.stride else { throw tooMuch }
    contents.budget.take(array: count, stride: MemoryLayout<PickleValue>.stride)
    var items: [PickleValue] = []
    items.reserveCapacity(count)
    for index in (stack.count - count)..<stack.count { items.append(stack[index]) }
    stack.removeLast(count)
    return items
  }

  private mutating func remember(_ key: Int) throws(DumpError) {
    let value = try top()
    if key < memo.count {
      memo[key] = value
    } else if key == memo.count, sparseMemo.isEmpty {
      memo.append(value)
    } else if sparseMemo.updateValue(value, forKey: key) == nil {
      contents.budget.take(Self.entryCost)
    }
  }

  /// An entry of a hash table at its emptiest, and its share of the old one while it grows.
  static let entryCost = 192

  private mutating func recall(_ key: Int) throws(DumpError) {
    guard let value = key < memo.count ? memo[key] : sparseMemo[key] else {
      throw malformed("nothing was remembered under number \(key)")
    }
    stack.append(value)
  }

  private mutating func pushTuple(_ count: Int) throws(DumpError) {
    guard stack.count - (marks.last ?? 0) >= count else { throw malformed("its stack is empty") }
    stack.append(.tuple(newSequence(try pop(count))))
  }

  mutating func newSequence(_ items: [PickleValue]) -> Int {
    contents.sequences.append(items)
    return contents.sequences.count - 1
  }

  mutating func newByteString(_ string: PickleBytes) -> Int {
    contents.byteStrings.append(string)
    return contents.byteStrings.count - 1
  }

  mutating func newDictionary() -> Int {
    contents.dictionaries.append([])
    return contents.dictionaries.count - 1
  }

  mutating func number(of global: PickleGlobal) -> Int {
    if let index = globalIndex[global] { return index }
    contents.budget.take(
      Self.entryCost + 2 * PickleBudget.allocation + global.module.utf8.count + global.name.utf8.count)
    contents.globals.append(global)
    globalIndex[global] = contents.globals.count - 1
    return contents.globals.count - 1
  }

  private mutating func global(_ module: String, _ name: String) -> PickleValue {
    .global(number(of: PickleGlobal(module: module, name: name)))
  }

  mutating func opaque(_ global: PickleGlobal) -> PickleValue { .opaque(number(of: global)) }

  private mutating func append(_ items: [PickleValue], to container: PickleValue) throws(DumpError) {
    switch container {
    case .list(let index), .set(let index):
      var budget = contents.budget
      defer { contents.budget = budget }
      guard budget.makeRoom(in: &contents.sequences[index], for: items.count) else { throw tooMuch }
      contents.sequences[index].append(contentsOf: items)
    case .opaque, .object: break
    default: throw malformed("items are added to something that is no list")
    }
  }

  mutating func makeRoom(inDictionary index: Int, for count: Int) throws(DumpError) {
    var budget = contents.budget
    defer { contents.budget = budget }
    guard budget.makeRoom(in: &contents.dictionaries[index], for: count) else { throw tooMuch }
  }

  private mutating func insert(_ items: [PickleValue], into container: PickleValue) throws(DumpError) {
    guard items.count.isMultiple(of: 2) else { throw malformed("a key has no value") }
    switch container {
    case .dictionary(let index):
      try makeRoom(inDictionary: index, for: items.count / 2)
      for i in stride(from: 0, to: items.count, by: 2) {
        contents.dictionaries[index].append((items[i], items[i + 1]))
      }
    case .opaque, .object: break
    default: throw malformed("entries are added to something that is no dictionary")
    }
  }
}
