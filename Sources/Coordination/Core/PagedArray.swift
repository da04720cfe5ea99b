/// Elements that come in pages and go with their whole page; an element keeps its index as long as it is there.
///
/// An index is the number of a page and a place in it, so that each page has a range of its own. Neither finding an
/// element nor taking a page away depends on what stands in the others. The number of a page that was taken away may be
/// given again.
struct PagedArray<Element: Sendable>: MutableCollection, Sendable {
  private var pages: [[Element]] = []

  private static var placeBits: Int { 32 }

  private static func first(of page: Int) -> Int { page << placeBits }
  /// The place of an element in its page.
  static func place(of index: Int) -> Int { index & (1 << placeBits - 1) }

  subscript(index: Int) -> Element {
    _read { yield pages[index >> Self.placeBits][Self.place(of: index)] }
    _modify { yield &pages[index >> Self.placeBits][Self.place(of: index)] }
  }

  /// - Returns: The element's index.
  @discardableResult
  mutating func append(_ element: Element, to page: Int) -> Int {
    while pages.count <= page { pages.append([]) }
    pages[page].append(element)
    return Self.first(of: page) + pages[page].count - 1
  }

  mutating func removePage(_ page: Int) {
    if pages.indices.contains(page) { pages[page] = [] }
  }

  func indices(of page: Int) -> Range<Int> {
    let first = Self.first(of: page)
    return first..<(first + (pages.indices.contains(page) ? pages[page].count : 0))
  }

  // MARK: - All of them, in the order of the pages

  var startIndex: Int { start(from: 0) }
  var endIndex: Int { Self.first(of: pages.count) }
  var count: Int { pages.reduce(0) { $0 + $1.count } }

  func index(after index: Int) -> Int {
    let page = index >> Self.placeBits
    return Self.place(of: index) + 1 < pages[page].count ? index + 1 : start(from: page + 1)
  }

  private func start(from page: Int) -> Int {
    Self.first(of: pages[page...].firstIndex { !$0.isEmpty } ?? pages.count)
  }
}
