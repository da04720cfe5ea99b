/// A collection that notes which of its elements may have changed, so that nobody has to look through all of them.
struct Noted<Base: MutableCollection & Sendable>: Collection, Sendable where Base.Index == Int, Base.Indices: Sendable {
  private var elements: Base
  private var changed: Set<Int>

  /// All of them are new.
  init(_ elements: Base) {
    self.elements = elements
    changed = Set(elements.indices)
  }

  var startIndex: Int { elements.startIndex }
  var endIndex: Int { elements.endIndex }
  var count: Int { elements.count }
  var indices: Base.Indices { elements.indices }
  func index(after index: Int) -> Int { elements.index(after: index) }

  subscript(index: Int) -> Base.Element {
    // Elements are large: nobody copies one to read or change a part of it.
    _read { yield elements[index] }
    _modify {
      changed.insert(index)
      yield &elements[index]
    }
  }

  /// For something that others hold of it.
  mutating func note(_ index: Int) { changed.insert(index) }

  /// Those that may have changed since this was last asked.
  mutating func takeChanged() -> Set<Int> {
    defer { changed = [] }
    return changed
  }

  /// - Returns: The element's index.
  mutating func append<Element>(_ element: Element, to page: Int) -> Int where Base == PagedArray<Element> {
    let index = elements.append(element, to: page)
    changed.insert(index)
    return index
  }

  func indices<Element>(of page: Int) -> Range<Int> where Base == PagedArray<Element> { elements.indices(of: page) }

  /// Takes a page away with what was noted of it.
  mutating func removePage<Element>(_ page: Int) where Base == PagedArray<Element> {
    if !changed.isEmpty { changed.subtract(elements.indices(of: page)) }
    elements.removePage(page)
  }
}
